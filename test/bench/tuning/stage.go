package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

// patch merges JSON into a Model.
func (b *bench) patch(ctx context.Context, model string, merge []byte) error {
	_, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Patch(ctx, model, types.MergePatchType, merge, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("patching Model %s: %w", model, err)
	}
	return nil
}

// tune sets what a Model says of its scaling.
func (b *bench) tune(ctx context.Context, model string, to v1alpha1.AutoscalingSpec) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"autoscaling": to}})
	if err != nil {
		return fmt.Errorf("writing a patch: %w", err)
	}
	return b.patch(ctx, model, patch)
}

// dismiss deletes a Model. Nothing waits for it.
func (b *bench) dismiss(ctx context.Context, name string) error {
	err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if stage.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Model %s: %w", name, err)
	}
	return nil
}

// reach waits until a Model has so many replicas ready, and wants no others.
func reach(ctx context.Context, trail *platform.Trail, within time.Duration, replicas int32) error {
	return platform.Until(ctx, within, fmt.Sprintf("%d replicas", replicas), func(context.Context) (string, error) {
		if now := trail.Now(); now.Ready() != replicas || now.Desired() != replicas {
			return now.String(), nil
		}
		return "", nil
	})
}

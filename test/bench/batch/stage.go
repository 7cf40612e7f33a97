package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

// deploy creates a Model and waits until it is Ready.
func (b *bench) deploy(ctx context.Context, m *v1alpha1.Model) (platform.Endpoint, error) {
	return stage.Deploy(ctx, b.clients, b.gateway, m)
}

// dismiss deletes a Model. Nothing waits for it.
func (b *bench) dismiss(ctx context.Context, name string) error {
	err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if stage.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Model %s: %w", name, err)
	}
	return nil
}

// start creates a Batch.
func (b *bench) start(ctx context.Context, of *v1alpha1.Batch) error {
	if _, err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).Create(ctx, of, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating Batch %s: %w", of.Name, err)
	}
	return nil
}

// suspend stops a Batch, or has it go on.
func (b *bench) suspend(ctx context.Context, name string, stopped bool) error {
	patch := fmt.Appendf(nil, `{"spec": {"suspend": %t}}`, stopped)
	if _, err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("suspending Batch %s: %w", name, err)
	}
	return nil
}

// remove deletes a Batch and its pods. Nothing waits for it.
func (b *bench) remove(ctx context.Context, name string) error {
	background := metav1.DeletePropagationBackground
	err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if stage.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Batch %s: %w", name, err)
	}
	return nil
}

// workers are the pods of a Batch that aren't over.
func (b *bench) workers(ctx context.Context, name string) ([]corev1.Pod, error) {
	list, err := b.clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.BatchLabelKey + "=" + name})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of Batch %s: %w", name, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}), nil
}

// complete waits until a Batch is complete, and returns it. One that has failed is an error.
func (b *bench) complete(ctx context.Context, name string, within time.Duration) (done *v1alpha1.Batch, err error) {
	err = platform.Until(ctx, within, "Batch "+name+" to be complete", func(ctx context.Context) (string, error) {
		got, err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		switch c := got.Status.GetCondition(v1alpha1.BatchConditionComplete); {
		case c.IsTrue():
			done = got
			return "", nil
		case c.IsFalse():
			return "", fmt.Errorf("it has failed: %s: %s", c.Reason, c.Message)
		}
		return fmt.Sprintf("%+v, %+v", got.Status.GetCondition(apis.ConditionSucceeded), got.Status.BatchProgress), nil
	})
	return done, err
}

// clean removes all that the benchmark makes, whoever left it, and waits until it is gone.
// Batches go first.
func (b *bench) clean(ctx context.Context) error {
	err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if stage.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Batches: %w", err)
	}
	if err := stage.Strike(ctx, b.clients, namespace, cleanWithin); err != nil {
		return err
	}
	return b.store.Discard(ctx, bucket)
}

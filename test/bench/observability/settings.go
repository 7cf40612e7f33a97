package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/bench/internal/stage"
)

const (
	// beforeAnnotation holds what keys were that the benchmark changed, so that whoever comes
	// next can put them back, where a run was killed.
	beforeAnnotation = sluice.GroupName + "/bench-before"

	gatewayConfig = config.GatewayName
	sinksConfig   = "config-observability"
)

// settings are keys of a ConfigMap; nil is one that isn't there.
type settings map[string]*string

// change sets keys of a ConfigMap of Sluice's, and notes what they were before the first time.
func (b *bench) change(ctx context.Context, name string, to settings) error {
	return b.edit(ctx, name, func(data, notes map[string]string) error {
		before := settings{}
		if noted, ok := notes[beforeAnnotation]; ok {
			if err := json.Unmarshal([]byte(noted), &before); err != nil {
				return fmt.Errorf("reading annotation %s: %w", beforeAnnotation, err)
			}
		}
		for key := range to {
			if _, ok := before[key]; ok {
				continue
			}
			before[key] = nil
			if was, ok := data[key]; ok {
				before[key] = &was
			}
		}
		noted, err := json.Marshal(before)
		if err != nil {
			return fmt.Errorf("noting what was before: %w", err)
		}
		notes[beforeAnnotation] = string(noted)
		to.into(data)
		return nil
	})
}

// restore puts back what was before, wherever that is noted.
func (b *bench) restore(ctx context.Context) error {
	var errs []error
	for _, name := range []string{gatewayConfig, sinksConfig} {
		errs = append(errs, stage.IgnoreNotFound(b.edit(ctx, name, func(data, notes map[string]string) error {
			noted, ok := notes[beforeAnnotation]
			if !ok {
				return nil
			}
			before := settings{}
			if err := json.Unmarshal([]byte(noted), &before); err != nil {
				return fmt.Errorf("reading annotation %s: %w", beforeAnnotation, err)
			}
			before.into(data)
			delete(notes, beforeAnnotation)
			return nil
		})))
	}
	return errors.Join(errs...)
}

func (s settings) into(data map[string]string) {
	for key, value := range s {
		if value == nil {
			delete(data, key)
		} else {
			data[key] = *value
		}
	}
}

// edit changes a ConfigMap of Sluice's.
func (b *bench) edit(ctx context.Context, name string, change func(data, notes map[string]string) error) error {
	maps := b.clients.Kube.CoreV1().ConfigMaps(sluice.SystemNamespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		cm, err := maps.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err //nolint:wrapcheck // named below
		}
		if cm.Data == nil {
			cm.Data = map[string]string{}
		}
		if cm.Annotations == nil {
			cm.Annotations = map[string]string{}
		}
		if err := change(cm.Data, cm.Annotations); err != nil {
			return err
		}
		_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
		return err //nolint:wrapcheck // named below
	})
	if err != nil {
		return fmt.Errorf("changing ConfigMap %s/%s: %w", sluice.SystemNamespace, name, err)
	}
	return nil
}

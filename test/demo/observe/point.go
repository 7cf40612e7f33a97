package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

const (
	// configName is of the ConfigMap that says where the collector sends to, and in Knative's
	// own namespace of Knative's.
	configName = "config-observability"
	// knative is where that one is.
	knative = "knative-serving"
	// topicPrefix begins the names of the collector's topics.
	topicPrefix = "sluice"
	// collectingWithin bounds the wait for a collector that goes by what it was told.
	collectingWithin = 2 * time.Minute
)

// sinks are where the collector is to send to, as its ConfigMap has it.
func (d *demo) sinks() map[string]string {
	return map[string]string{
		"kafka-brokers": d.broker, "kafka-topic-prefix": topicPrefix, "log-store-endpoint": d.logs.Endpoint(),
		"trace-endpoint": d.traces.OTLP, "remote-write-endpoint": d.written.URL + "/api/v1/write", "metrics-scrape": "on",
	}
}

// queueProxy is what has Knative's queue-proxy show its metrics to Prometheus.
var queueProxy = map[string]string{"request-metrics-protocol": "prometheus"}

// point points the collector at the stores, and waits until it goes by it.
func (d *demo) point(ctx context.Context) (err error) {
	if !d.asItIs {
		d.Title("Pointing the collector at them")
		if err := d.configure(ctx, sluice.SystemNamespace, d.sinks()); err != nil {
			return err
		}
		if err := d.configure(ctx, knative, queueProxy); err != nil {
			return err
		}
		if err := d.collecting(ctx); err != nil {
			return err
		}
	}
	d.topics, err = follow(ctx, d.broker, topicPrefix, asked{namespace: d.namespace, model: d.model()})
	return err
}

// configure puts values into a ConfigMap config-observability.
func (d *demo) configure(ctx context.Context, namespace string, data map[string]string) error {
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("writing a patch: %w", err)
	}
	_, err = d.clients.Kube.CoreV1().ConfigMaps(namespace).Patch(ctx, configName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "sluice-demo"})
	if apierrs.IsNotFound(err) {
		return fmt.Errorf("there is no ConfigMap %s/%s: install with SLUICE_OBSERVABILITY=true", namespace, configName)
	}
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", namespace, configName, err)
	}
	d.Sayf("ConfigMap %s/%s: %s", namespace, configName, patch)
	return nil
}

// collecting waits until the collector's pods are those of its newest configuration.
func (d *demo) collecting(ctx context.Context) error {
	apps := d.clients.Kube.AppsV1()
	return platform.Until(ctx, collectingWithin, "the collector to be up", func(ctx context.Context) (string, error) {
		gateway, err := apps.Deployments(sluice.SystemNamespace).Get(ctx, "collector-gateway", metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		agent, err := apps.DaemonSets(sluice.SystemNamespace).Get(ctx, "collector-agent", metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		g, a := gateway.Status, agent.Status
		if g.ObservedGeneration != gateway.Generation || g.UpdatedReplicas != g.Replicas || g.ReadyReplicas != g.Replicas || g.Replicas == 0 {
			return fmt.Sprintf("of collector-gateway %d of %d pods are ready", g.ReadyReplicas, g.Replicas), nil
		}
		if a.ObservedGeneration != agent.Generation || a.UpdatedNumberScheduled != a.DesiredNumberScheduled || a.NumberReady != a.DesiredNumberScheduled {
			return fmt.Sprintf("of collector-agent %d of %d pods are ready", a.NumberReady, a.DesiredNumberScheduled), nil
		}
		return "", nil
	})
}

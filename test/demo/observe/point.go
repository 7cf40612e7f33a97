package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

const (
	// configName is of the ConfigMap that says where the collector sends to, and in Knative's
	// own namespace of Knative's.
	configName = "config-observability"
	// gatewayConfigName is of the one that says where gateways send traces.
	gatewayConfigName = "config-gateway"
	// knative is where Knative's is.
	knative = "knative-serving"
	// topicPrefix begins the names of the collector's topics.
	topicPrefix = "sluice"
	// traceReceiver is where the collector takes traces, by OTLP over gRPC.
	traceReceiver = "collector-gateway.sluice-system.svc:4317"
	// The collector: what adds up, and what reads logs on each node.
	collectorGateway = "collector-gateway"
	collectorAgent   = "collector-agent"
	// collectingWithin bounds the wait for a collector that goes by what it was told.
	collectingWithin = 2 * time.Minute
)

// sinks are where the collector is to send to, as its ConfigMap has it.
func (d *demo) sinks() map[string]string {
	return map[string]string{
		"kafka-brokers": d.broker, "kafka-topic-prefix": topicPrefix, "log-store-endpoint": d.logs.Endpoint(),
		"trace-endpoint": d.traces.OTLP, "remote-write-endpoint": d.written.URL + "/api/v1/write", "metrics-scrape": "on",
		// Of the traces that gateways chose, all: one is asked for here.
		"trace-share-percent": "100",
	}
}

// traced has gateways send traces. Of requests that ask for none they choose few.
var traced = map[string]string{"trace-endpoint": traceReceiver}

// queueProxy has Knative's queue-proxy show its metrics to Prometheus, and have its part in the
// traces that a gateway chose. Without a rate it would have none, whoever chose.
var queueProxy = map[string]string{
	"request-metrics-protocol": "prometheus",
	"tracing-protocol":         "grpc", "tracing-endpoint": "http://" + traceReceiver, "tracing-sampling-rate": "0.01",
}

// point points the collector at the stores, and waits until it goes by it.
func (d *demo) point(ctx context.Context) (err error) {
	if !d.asItIs {
		d.Title("Pointing the collector at them")
		for _, of := range []config{
			{sluice.SystemNamespace, configName, d.sinks()}, {sluice.SystemNamespace, gatewayConfigName, traced}, {knative, configName, queueProxy},
		} {
			if err := d.configure(ctx, of); err != nil {
				return err
			}
		}
		if err := d.renew(ctx); err != nil {
			return err
		}
		if err := d.collecting(ctx); err != nil {
			return err
		}
	}
	d.topics, err = follow(ctx, d.broker, topicPrefix, asked{namespace: d.namespace, model: d.model()})
	return err
}

// config is what is put into a ConfigMap.
type config struct {
	namespace, name string
	data            map[string]string
}

// configure puts values into a ConfigMap, beside what it has.
func (d *demo) configure(ctx context.Context, c config) error {
	patch, err := json.Marshal(map[string]any{"data": c.data})
	if err != nil {
		return fmt.Errorf("writing a patch: %w", err)
	}
	_, err = d.clients.Kube.CoreV1().ConfigMaps(c.namespace).Patch(ctx, c.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "sluice-demo"})
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s, of an installation with SLUICE_OBSERVABILITY=true: %w", c.namespace, c.name, err)
	}
	for _, key := range slices.Sorted(maps.Keys(c.data)) {
		d.Printf("  %-40s %-26s %s\n", c.namespace+"/"+c.name, key, c.data[key])
	}
	return nil
}

// sinksKey is of the annotation by which the collector's pods are of these sinks.
const sinksKey = "observe.sluice.dev/sinks"

// renew has the collector's pods begin anew, unless they did for the same sinks before: by
// itself a collector may take two minutes to take up what it is told.
func (d *demo) renew(ctx context.Context) error {
	sinks, err := json.Marshal(d.sinks())
	if err != nil {
		return fmt.Errorf("writing the sinks: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{sinksKey: string(sinks)}},
	}}})
	if err != nil {
		return fmt.Errorf("writing a patch: %w", err)
	}
	apps, options := d.clients.Kube.AppsV1(), metav1.PatchOptions{FieldManager: "sluice-demo"}
	if _, err := apps.Deployments(sluice.SystemNamespace).Patch(ctx, collectorGateway, types.StrategicMergePatchType, patch, options); err != nil {
		return fmt.Errorf("starting %s anew: %w", collectorGateway, err)
	}
	if _, err := apps.DaemonSets(sluice.SystemNamespace).Patch(ctx, collectorAgent, types.StrategicMergePatchType, patch, options); err != nil {
		return fmt.Errorf("starting %s anew: %w", collectorAgent, err)
	}
	return nil
}

// collecting waits until the collector's pods are those of its newest configuration.
func (d *demo) collecting(ctx context.Context) error {
	apps := d.clients.Kube.AppsV1()
	return platform.Until(ctx, collectingWithin, "the collector to be up", func(ctx context.Context) (string, error) {
		gateway, err := apps.Deployments(sluice.SystemNamespace).Get(ctx, collectorGateway, metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		agent, err := apps.DaemonSets(sluice.SystemNamespace).Get(ctx, collectorAgent, metav1.GetOptions{})
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

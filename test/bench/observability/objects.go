package main

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// namespace is the benchmark's own.
	namespace = "bench-observability"
	// unlimited is a rate, in requests per second, that no part reaches.
	unlimited = 100_000
	// traceEndpoint is where gateways send spans to.
	traceEndpoint = "collector-gateway.sluice-system.svc.cluster.local:4317"
)

func ownNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
}

// ranker is a Model of one replica whose limit nobody reaches.
func (b *bench) ranker(name string) *v1alpha1.Model {
	return &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ModelSpec{
			Container:   stage.Ranker(b.Image, "50m"),
			Autoscaling: v1alpha1.AutoscalingSpec{MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(1)},
			Limit:       v1alpha1.LimitSpec{RequestsPerSecondPerReplica: resource.NewQuantity(unlimited, resource.DecimalSI)},
		},
	}
}

// deploy creates a Model and waits until it is Ready.
func (b *bench) deploy(ctx context.Context, m *v1alpha1.Model) (platform.Endpoint, error) {
	return stage.Deploy(ctx, b.clients, b.gateway, m)
}

// predict asks an endpoint for a prediction.
func (b *bench) predict(at platform.Endpoint) load.Target {
	return load.Target{
		Address: at.Address, Host: at.Host, Method: http.MethodPost, Path: platform.InferPath, Body: b.prediction,
		Header: http.Header{"Content-Type": {"application/json"}},
	}
}

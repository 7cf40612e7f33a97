package main

import (
	"fmt"
	"net/http"
	"time"

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
	// namespace is the benchmark's own, knative that of Knative Serving.
	namespace, knative = "bench-tuning", "knative-serving"
	// takes is how long a replica sleeps for a request, concurrency how many it works on at a
	// time, and perReplica what it so serves, in requests per second. Were it less, chance alone
	// would have the autoscaler panic in one course and not in the next: no prediction would hold.
	takes                   = 200 * time.Millisecond
	concurrency, perReplica = 10, 50
	// window of the Models whose demand is predicted.
	window = 15 * time.Second
)

func ownNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
}

// modelOf is a Model of the streams.
func (b *bench) modelOf(name string, change func(*v1alpha1.Model)) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	m.Spec.Container = stage.Ranker(b.streams, "1m")
	m.Spec.Container.ReadinessProbe.HTTPGet.Path = "/hello"
	m.Spec.TimeoutSeconds = ptr.Int64(20) // its pods, and so the namespace, take no longer to go
	change(m)
	return m
}

// sleeper is a Model whose replicas sleep for each request. It aims at 70 % of those that a
// replica works on, so one replica is wanted for each 35 requests a second.
func (b *bench) sleeper(name string, change func(*v1alpha1.Model)) *v1alpha1.Model {
	return b.modelOf(name, func(m *v1alpha1.Model) {
		m.Spec.ContainerConcurrency = ptr.Int64(concurrency)
		m.Spec.Limit.RequestsPerSecondPerReplica = resource.NewQuantity(perReplica, resource.DecimalSI)
		m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{
			MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(mostReplicas),
			Target: ptr.Int32(concurrency), TargetUtilization: ptr.Int32(70), Window: &metav1.Duration{Duration: window},
		}
		change(m)
	})
}

// sleeping is what a sleeper is asked.
func sleeping(at platform.Endpoint) load.Target {
	return load.Target{
		Address: at.Address, Host: at.Host, Method: http.MethodPost, Path: fmt.Sprintf("/predict?seconds=%g", takes.Seconds()),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"inputs": []}`),
	}
}

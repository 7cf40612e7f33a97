package main

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/stores"
)

const (
	// namespace is the benchmark's own; the bucket has its name, and the Secret with the
	// bucket's keys.
	namespace, bucket, storeSecret = "bench-batch", "bench-batch", "store"
	// rankerPath is what is asked of the ranker.
	rankerPath = "/v2/models/ranker/infer"
)

func ownNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func storeKeys(store *stores.S3) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: meta(storeSecret),
		StringData: map[string]string{task.AccessKeyFile: store.AccessKey, task.SecretKeyFile: store.SecretKey},
	}
}

// sleeper is a Model whose replicas sleep for each request.
type sleeper struct {
	name string
	// seconds is how long for, concurrency how many requests a replica works on at a time,
	// perReplica what it is said to serve, in requests per second.
	seconds     float64
	concurrency int64
	perReplica  int64
	// min and max replicas.
	min, max int32
	// cpu is what a replica requests, "1m" where it isn't said.
	cpu string
}

// path is what a sleeper is asked by POST.
func (s sleeper) path() string { return fmt.Sprintf("/work?seconds=%g", s.seconds) }

func (s sleeper) model(image string) *v1alpha1.Model {
	container := stage.Ranker(image, cmp.Or(s.cpu, "1m"))
	container.ReadinessProbe.HTTPGet.Path = "/hello"
	return limited(s.name, container, s.perReplica, func(m *v1alpha1.ModelSpec) {
		m.ContainerConcurrency = ptr.Int64(s.concurrency)
		m.Autoscaling.MinReplicas, m.Autoscaling.MaxReplicas = ptr.Int32(s.min), ptr.Int32(s.max)
	})
}

// ranker is a Model of one replica that ranks.
func ranker(name, image string, perReplica int64) *v1alpha1.Model {
	return limited(name, stage.Ranker(image, "10m"), perReplica, func(m *v1alpha1.ModelSpec) {
		m.Autoscaling.MinReplicas, m.Autoscaling.MaxReplicas = ptr.Int32(1), ptr.Int32(1)
	})
}

func limited(name string, container corev1.Container, perReplica int64, change func(*v1alpha1.ModelSpec)) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: meta(name)}
	m.Spec.Container = container
	m.Spec.TimeoutSeconds = ptr.Int64(20) // its pods, and so the namespace, take no longer to go
	m.Spec.Limit.RequestsPerSecondPerReplica = resource.NewQuantity(perReplica, resource.DecimalSI)
	change(&m.Spec)
	return m
}

// batch asks a Model for each line of the objects below a prefix of the bucket, and has
// another prefix, named after it, for what comes of them.
func (b *bench) batch(name, model, path, inputs string) *v1alpha1.Batch {
	at := v1alpha1.BatchS3Bucket{Bucket: bucket, Endpoint: b.store.Endpoint, SecretName: storeSecret}
	of := &v1alpha1.Batch{ObjectMeta: meta(name)}
	of.Spec.Model = model
	of.Spec.Request.Path = path
	of.Spec.Input.S3 = &v1alpha1.BatchS3Input{BatchS3Bucket: at, Prefix: inputs}
	of.Spec.Output.S3 = &v1alpha1.BatchS3Output{BatchS3Bucket: at, Prefix: outputOf(name)}
	return of
}

// outputOf is where the results of a Batch are.
func outputOf(name string) string { return "runs/" + name + "/" }

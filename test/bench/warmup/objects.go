package main

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

const (
	// namespace is the benchmark's own; all that it makes is in there.
	namespace = "bench-warmup"
	// initialisation is how long the slow variant's first inference takes.
	initialisation = 2 * time.Second
	// requestTimeout is also how long pods may drain, and the namespace may take to go;
	// warmUpTimeout has to be below it.
	requestTimeout = 20 * time.Second
	warmUpTimeout  = 15 * time.Second
	// behindActivator and pastActivator are burst capacities: with the activator always
	// in the path, or at zero replicas only.
	behindActivator, pastActivator = -1, 0
	// replicaCPU is what a replica asks for, and by which the kernel divides the cores
	// when all are busy. With 10m, one that had just been warmed up was owed so little
	// that it stood still for some 200 ms, until what its start entails was done.
	replicaCPU = "100m"
	// mostReplicas is what a Model is scaled to.
	mostReplicas = 4
)

// change makes another Model of one.
type change func(*bench, *v1alpha1.Model)

// subject is a Model that is measured.
type subject struct {
	name, title string
	changes     []change
}

// variant is a ranker without and with a warm-up.
type variant struct {
	title      string
	cold, warm subject
	// rolloutBound is what the 99th percentile of latencies may come to during a
	// rollout, as a multiple of that before.
	rolloutBound bound
	// rollouts are how many are pooled.
	rollouts int
}

// bound holds a figure against something, or only tells it.
type bound func(report.Figure) report.Figure

func atMost(value float64) bound {
	return func(f report.Figure) report.Figure { return f.Within(report.AtMost, value) }
}

func told(f report.Figure) report.Figure { return f }

// variants are the ranker as it is, which compiles on its first request, and one of
// slower initialisation.
var variants = []variant{
	{
		title: "lazy loading",
		cold:  subject{name: "lazy", title: "without warm-up"},
		warm:  subject{name: "lazy-warm", title: "with warm-up", changes: []change{warmed}},

		rolloutBound: atMost(1.2), rollouts: 3,
	},
	{
		title: "2 s of initialisation",
		cold:  subject{name: "slow", title: "without warm-up", changes: []change{slow}},
		warm:  subject{name: "slow-warm", title: "with warm-up", changes: []change{slow, warmed}},

		// Its initialisation keeps cores busy, which are all callers' too.
		rolloutBound: told, rollouts: 1,
	},
}

func (v variant) subjects() []subject { return []subject{v.cold, v.warm} }

// warmed warms the ranker up by the request that is measured, until its latency has
// levelled off.
func warmed(b *bench, m *v1alpha1.Model) {
	m.Spec.WarmUp = &v1alpha1.WarmUpSpec{
		Requests: []v1alpha1.WarmUpRequest{{
			Name: "typical", Path: platform.InferPath, Body: string(b.prediction),
			Headers: map[string]string{"Content-Type": "application/json"},
			Expect:  &v1alpha1.WarmUpExpectation{JSON: &v1alpha1.WarmUpJSONValue{Path: "{.outputs[0].name}", Value: "score"}},
		}},
		Repeat: 400, Until: &v1alpha1.WarmUpUntil{Stable: &v1alpha1.WarmUpStable{}},
		Timeout: &metav1.Duration{Duration: warmUpTimeout},
	}
}

// empty has the warm-up's container, and nothing for it to send.
func empty(_ *bench, m *v1alpha1.Model) {
	m.Spec.WarmUp = &v1alpha1.WarmUpSpec{Timeout: &metav1.Duration{Duration: warmUpTimeout}}
}

// slow initialises on its first request.
func slow(_ *bench, m *v1alpha1.Model) { setVariable(m, "RANKER_INITIALIZE", initialisation.String()) }

func setVariable(m *v1alpha1.Model, name, value string) {
	m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: name, Value: value})
}

// direct has the activator in the path at zero replicas only.
func direct(_ *bench, m *v1alpha1.Model) {
	m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(pastActivator)
}

// replicas that are always there.
func replicas(n int32) change {
	return func(_ *bench, m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(n) }
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

func ownNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
}

// model is a subject's Model: at zero without requests, and with as many replicas as
// the benchmark says with some, since neither the autoscaler's aim nor the limit is
// ever reached.
func (b *bench) model(s subject) *v1alpha1.Model {
	rate := resource.MustParse("1000000")
	m := &v1alpha1.Model{
		ObjectMeta: meta(s.name),
		Spec: v1alpha1.ModelSpec{
			Container:      stage.Ranker(b.Image, replicaCPU),
			TimeoutSeconds: ptr.Int64(int64(requestTimeout.Seconds())),
			Autoscaling: v1alpha1.AutoscalingSpec{
				MinReplicas: ptr.Int32(0),
				MaxReplicas: ptr.Int32(mostReplicas),
				Metric:      v1alpha1.MetricRPS,
				Target:      ptr.Int32(1000),
				Window:      &metav1.Duration{Duration: window},
				// Always behind the activator, they are soon at zero again: Knative
				// waits for a while once it has come between.
				TargetBurstCapacity: ptr.Int32(behindActivator),
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate, Policy: v1alpha1.PolicyReady},
		},
	}
	for _, change := range s.changes {
		change(b, m)
	}
	return m
}

// plainService is a Knative Service on Sluice's gateway whose revision is the one that
// Sluice would make of the Model.
func plainService(m *v1alpha1.Model) *servingv1.Service {
	service := &servingv1.Service{ObjectMeta: m.ObjectMeta}
	service.Annotations = map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName}
	service.Spec.Template = servingv1.RevisionTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(m.AutoscalingAnnotations())},
		Spec:       m.Spec.RevisionSpec(),
	}
	return service
}

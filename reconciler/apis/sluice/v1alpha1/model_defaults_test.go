package v1alpha1

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
)

func TestModelDefaults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		model    func(*Model)
		wantRate string
	}{
		{name: "a rate is not made up", model: func(*Model) {}},
		{name: "a concurrency is not a rate", model: func(m *Model) { m.Spec.Autoscaling.Target = ptr(int32(7)) }},
		{name: "the rate is the target", wantRate: "40", model: func(m *Model) {
			m.Spec.Autoscaling.Metric, m.Spec.Autoscaling.Target = MetricRPS, ptr(int32(40))
		}},
		{name: "the rate is the annotated target", wantRate: "12.5", model: func(m *Model) {
			m.Spec.Autoscaling.Metric, m.Spec.Autoscaling.Target = MetricRPS, ptr(int32(40))
			m.Annotations = map[string]string{autoscaling.TargetAnnotationKey: "12.5"}
		}},
		{name: "the metric is annotated", wantRate: "40", model: func(m *Model) {
			m.Spec.Autoscaling.Target = ptr(int32(40))
			m.Annotations = map[string]string{autoscaling.MetricAnnotationKey: autoscaling.RPS}
		}},
		{name: "a target that is no number", model: func(m *Model) {
			m.Spec.Autoscaling.Metric = MetricRPS
			m.Annotations = map[string]string{autoscaling.TargetAnnotationKey: "much"}
		}},
		{name: "what is said stays", wantRate: "3", model: func(m *Model) {
			m.Spec.Autoscaling.Metric, m.Spec.Autoscaling.Target = MetricRPS, ptr(int32(40))
			m.Spec.Limit.RequestsPerSecondPerReplica = quantity("3")
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &Model{}
			c.model(m)
			m.SetDefaults(context.Background())

			got := m.Spec.Limit.RequestsPerSecondPerReplica
			switch {
			case c.wantRate == "" && got != nil:
				t.Errorf("rate = %s, want none", got)
			case c.wantRate != "" && (got == nil || got.Cmp(resource.MustParse(c.wantRate)) != 0):
				t.Errorf("rate = %v, want %s", got, c.wantRate)
			}
			if m.Spec.Limit.Policy != PolicyDemand || *m.Spec.Limit.HeadroomPercent != 100 ||
				m.Spec.Limit.Burst.Duration != 100*time.Millisecond || m.Spec.Autoscaling.Metric == "" {
				t.Errorf("defaults = %+v", m.Spec)
			}
			again := m.DeepCopy()
			again.SetDefaults(context.Background())
			if !equality.Semantic.DeepEqual(m, again) {
				t.Error("defaulting twice changed the Model:", cmp.Diff(m.Annotations, again.Annotations))
			}
		})
	}
}

// What makes a revision is Knative's to default.
func TestModelDefaultsLeaveRevisionAlone(t *testing.T) {
	t.Parallel()
	m := validModel()
	before := m.Spec.RevisionSpec()
	m.SetDefaults(context.Background())
	if !equality.Semantic.DeepEqual(before, m.Spec.RevisionSpec()) {
		t.Errorf("defaulting changed the revision: %+v, was %+v", m.Spec.RevisionSpec(), before)
	}
}

func TestAutoscalingAnnotations(t *testing.T) {
	t.Parallel()
	const prefix = AutoscalingPrefix
	m := &Model{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		prefix + "minScale":                     "2", // an older spelling wins over the spec, too
		prefix + "target":                       "12.5",
		prefix + "metric-aggregation-algorithm": "linear",
		"example.com/other":                     "not for the autoscaler",
	}}}
	m.Spec.Autoscaling = AutoscalingSpec{
		MinReplicas: ptr(int32(1)), MaxReplicas: ptr(int32(9)), InitialReplicas: ptr(int32(3)),
		Metric: MetricConcurrency, Target: ptr(int32(5)), TargetUtilization: ptr(int32(70)),
		Window: duration("1m"), ScaleDownDelay: duration("90s"), ScaleToZeroRetention: duration("0s"),
		TargetBurstCapacity: ptr(int32(-1)),
	}
	want := map[string]string{
		prefix + "min-scale": "2", prefix + "max-scale": "9", prefix + "initial-scale": "3",
		prefix + "metric": "concurrency", prefix + "target": "12.5", prefix + "target-utilization-percentage": "70",
		prefix + "window": "1m0s", prefix + "scale-down-delay": "1m30s", prefix + "scale-to-zero-pod-retention-period": "0s",
		prefix + "target-burst-capacity": "-1", prefix + "metric-aggregation-algorithm": "linear",
	}
	if diff := cmp.Diff(want, m.AutoscalingAnnotations()); diff != "" {
		t.Error("annotations (-want, +got):", diff)
	}

	m.Annotations = map[string]string{autoscaling.ClassAnnotationKey: autoscaling.HPA}
	if metric, ok := m.AutoscalingAnnotations()[autoscaling.MetricAnnotationKey]; ok {
		t.Errorf("another class is told metric %q", metric)
	}
}

// Requests that may wait do so in the activator, which has to be in their path.
func TestQueueKeepsTheActivator(t *testing.T) {
	t.Parallel()
	m := &Model{}
	if got, ok := m.AutoscalingAnnotations()[autoscaling.TargetBurstCapacityKey]; ok {
		t.Errorf("without a queue the burst capacity is %q", got)
	}
	queued(m)
	if got := m.AutoscalingAnnotations()[autoscaling.TargetBurstCapacityKey]; got != "-1" {
		t.Errorf("with a queue the burst capacity is %q, want -1", got)
	}
}

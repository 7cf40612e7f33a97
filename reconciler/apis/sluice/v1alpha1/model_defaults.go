package v1alpha1

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
)

const (
	// DefaultBurst is limit.burst where it is unset.
	DefaultBurst = 100 * time.Millisecond
	// DefaultHeadroomPercent is limit.headroomPercent where it is unset.
	DefaultHeadroomPercent int32 = 100
)

// SetDefaults implements apis.Defaultable.
//
// It writes only what Sluice itself goes by. What a revision is made of is left to
// Knative's own defaults: a default written here would make a new revision of
// every Model on the day it changes. Who tunes the Model it writes as well, which is
// known where the context is an admission's.
func (m *Model) SetDefaults(ctx context.Context) {
	if m.Spec.Autoscaling.Metric == "" {
		m.Spec.Autoscaling.Metric = MetricConcurrency
	}
	m.Spec.Rollout.setDefaults()
	limit := &m.Spec.Limit
	if limit.Policy == "" {
		limit.Policy = PolicyDemand
	}
	if limit.HeadroomPercent == nil {
		headroom := DefaultHeadroomPercent
		limit.HeadroomPercent = &headroom
	}
	if limit.Burst == nil {
		limit.Burst = &metav1.Duration{Duration: DefaultBurst}
	}
	if limit.RequestsPerSecondPerReplica == nil {
		limit.RequestsPerSecondPerReplica = m.targetRate()
	}
	m.Spec.Trial.setDefaults()
	m.Spec.WarmUp.setDefaults()
	m.setAuthor(ctx)
}

// targetRate is the autoscaler's target where that is a rate, or nil: a team that
// scales by requests per second has said what a replica serves.
func (m *Model) targetRate() *resource.Quantity {
	annotations := m.AutoscalingAnnotations()
	if annotations[autoscaling.MetricAnnotationKey] != autoscaling.RPS {
		return nil
	}
	rate, err := resource.ParseQuantity(annotations[autoscaling.TargetAnnotationKey])
	if err != nil {
		return nil
	}
	return &rate
}

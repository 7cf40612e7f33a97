package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultStepPercent is rollout.stepPercent where it is unset.
	DefaultStepPercent int32 = 25
	// DefaultKeepWarm is rollout.keepWarm where it is unset.
	DefaultKeepWarm = 5 * time.Minute
)

func (r *RolloutSpec) setDefaults() {
	if r.StepPercent == nil {
		step := DefaultStepPercent
		r.StepPercent = &step
	}
	if r.KeepWarm == nil {
		r.KeepWarm = &metav1.Duration{Duration: DefaultKeepWarm}
	}
}

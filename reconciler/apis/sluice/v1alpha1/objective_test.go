package v1alpha1

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each bound can be promised, and nothing between two of them; both neighbours are named.
func TestLatencyThresholds(t *testing.T) {
	t.Parallel()
	for i, bound := range LatencyBounds() {
		m := &Model{}
		m.Spec.Objective = &ObjectiveSpec{Latency: &ObjectiveLatency{Threshold: metav1.Duration{Duration: bound}, Percent: quantity("99.9")}}
		if err := m.CheckObjective(); err != nil {
			t.Errorf("%s is refused: %v", bound, err)
		}
		m.Spec.Objective.Latency.Threshold.Duration += time.Millisecond / 2
		want := "1m0s is the longest"
		if i+1 < len(LatencyBounds()) {
			want = bound.String() + " or " + LatencyBounds()[i+1].String()
		}
		err := m.CheckObjective()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "spec.objective.latency.threshold") {
			t.Errorf("%s: %v, want spec.objective.latency.threshold and %q", m.Spec.Objective.Latency.Threshold.Duration, err, want)
		}
	}
}

// An objective tunes nothing: the history keeps no state for it, and nobody signs it.
func TestObjectiveIsNoTuning(t *testing.T) {
	t.Parallel()
	m := &Model{}
	before := m.TuningPatch()
	m.Spec.Objective = &ObjectiveSpec{Availability: quantity("99.9")}
	if diff := cmp.Diff(before, m.TuningPatch()); diff != "" {
		t.Errorf("the tuning changes: %s", diff)
	}
}

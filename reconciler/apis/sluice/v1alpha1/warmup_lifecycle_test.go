package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

func rows(revision string, states ...warmup.State) []ReplicaWarmUp {
	var rows []ReplicaWarmUp
	for i, state := range states {
		rows = append(rows, ReplicaWarmUp{Pod: fmt.Sprintf("%s-%d", revision, i), Revision: revision, State: string(state), Reason: "why"})
	}
	return rows
}

func TestWarmCondition(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		replicas []ReplicaWarmUp
		before   *WarmUpStatus
		ready    string
		status   corev1.ConditionStatus
		says     string
	}{
		"at zero":             {nil, nil, "r-2", corev1.ConditionTrue, "NoReplicas"},
		"new":                 {nil, nil, "r-1", corev1.ConditionUnknown, `"r-2" has no replicas yet`},
		"another's replicas":  {rows("r-1", warmup.Warm), nil, "r-1", corev1.ConditionUnknown, "no replicas yet"},
		"the first":           {rows("r-2", warmup.Warming), nil, "r-1", corev1.ConditionUnknown, "0 of 1 replicas are warm; r-2-0: Warming"},
		"another one":         {rows("r-2", warmup.Warm, warmup.Waiting), nil, "r-2", corev1.ConditionTrue, "1 of 2 replicas are warm"},
		"cold":                {rows("r-2", warmup.Warm, warmup.ServingCold), nil, "r-2", corev1.ConditionTrue, "ServingCold: 1 of 2"},
		"failed":              {rows("r-2", warmup.Warming, warmup.Failed), nil, "r-2", corev1.ConditionFalse, "WarmUpFailed: Replica r-2-1 of revision r-2 could not be warmed up and doesn't serve: why"},
		"one of two failed":   {rows("r-2", warmup.Warm, warmup.Failed), nil, "r-2", corev1.ConditionTrue, "ReplicaFailed: 1 of 2 replicas are warm. Replica r-2-1 of revision r-2 could not"},
		"another's failure":   {append(rows("r-1", warmup.Failed), rows("r-2", warmup.Warm)...), nil, "r-2", corev1.ConditionTrue, "1 of 1"},
		"failed, taken away":  {nil, &WarmUpStatus{Failure: &rows("r-2", warmup.Failed)[0]}, "r-1", corev1.ConditionFalse, "r-2-0"},
		"failed before":       {nil, &WarmUpStatus{Failure: &rows("r-1", warmup.Failed)[0]}, "r-2", corev1.ConditionTrue, "NoReplicas"},
		"failed, but now one": {rows("r-2", warmup.Warm), &WarmUpStatus{Failure: &rows("r-2", warmup.Failed)[0]}, "r-2", corev1.ConditionTrue, "1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &ModelStatus{LatestReadyRevision: tt.ready, WarmUp: tt.before}
			s.InitializeConditions()
			s.PropagateWarmUp("r-2", tt.replicas)
			c := s.GetCondition(ModelConditionWarm)
			if c.Status != tt.status || !strings.Contains(c.Reason+": "+c.Message, tt.says) {
				t.Errorf("%s, %s: %s; want %s, %q", c.Status, c.Reason, c.Message, tt.status, tt.says)
			}
		})
	}
}

// However many replicas there are, what there is to say of them fits.
func TestWarmUpRowsAreBounded(t *testing.T) {
	t.Parallel()
	states := make([]warmup.State, 500)
	for i := range states {
		states[i] = warmup.Warm
	}
	states[3], states[400], states[499] = warmup.Warming, warmup.ServingCold, warmup.Failed
	s := &ModelStatus{}
	s.PropagateWarmUp("r", rows("r", states...))
	w := s.WarmUp
	if len(w.Replicas) != maxWarmUpRows || w.Total != 500 || w.Warm != 498 {
		t.Errorf("%d rows, %d of %d warm", len(w.Replicas), w.Warm, w.Total)
	}
	var order []string
	for _, r := range w.Replicas[:4] {
		order = append(order, r.Pod)
	}
	if got := strings.Join(order, " "); got != "r-499 r-3 r-400 r-0" {
		t.Errorf("order %s", got)
	}
}

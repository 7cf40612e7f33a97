package v1alpha1

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

// What is refused of another tuning is what is new of it.
func TestRefuseTuning(t *testing.T) {
	t.Parallel()
	target := func(n int32) func(*Model) { return scaling(func(a *AutoscalingSpec) { a.Target = &n }) }
	queued := func(m *Model) { m.Spec.Limit.Queue = &QueueSpec{Wait: metav1.Duration{Duration: time.Second}} }
	capped := WithNeighbours(context.Background(), func(string) (*Tenant, []*Model, error) {
		return &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: TenantSpec{Limits: TenantLimits{MaxReplicas: ptr(int32(9))}}}, nil, nil
	})
	upTo := func(n int32) func(*Model) { return scaling(func(a *AutoscalingSpec) { a.MaxReplicas = &n }) }
	for name, c := range map[string]struct {
		ctx            context.Context
		before, change func(*Model)
		path           string // "" for none
		says           string
	}{
		"another target":            {context.Background(), func(*Model) {}, target(7), "", ""},
		"no target":                 {context.Background(), func(*Model) {}, target(0), "spec.autoscaling.target", "must be at least 1"},
		"what Knative refuses":      {context.Background(), func(*Model) {}, annotated("window", "1s"), "metadata.annotations[autoscaling.knative.dev/window]", "expected 6s"},
		"a misspelt annotation":     {context.Background(), func(*Model) {}, annotated("windo", "10s"), "metadata.annotations[autoscaling.knative.dev/windo]", "did you mean"},
		"no rate":                   {context.Background(), func(*Model) {}, func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = nil }, pathRate, "say how many requests"},
		"what is wrong already":     {context.Background(), queued, both(queued, target(7)), "", ""},
		"what is wrong anew":        {context.Background(), func(*Model) {}, queued, "spec.containerConcurrency", "at least 1"},
		"a warning":                 {context.Background(), func(*Model) {}, target(1000), "", ""},
		"as many as the tenant may": {capped, upTo(2), upTo(9), "", ""},
		"more than the tenant may":  {capped, upTo(2), upTo(10), "spec.autoscaling.maxReplicas", "from 1 to 9, is 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := validModel(), validModel()
			for of, change := range map[*Model]func(*Model){before: c.before, after: c.change} {
				of.SetDefaults(context.Background())
				change(of)
			}
			err := after.RefuseTuning(c.ctx, before)
			if c.path == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.says) || err.Filter(apis.WarningLevel) != nil {
				t.Errorf("%v, want %s at %s", err, c.says, c.path)
			}
		})
	}
}

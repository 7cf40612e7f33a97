package tuning

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Each annotation that is live has just one row; what it begins with can be applied, the change
// can be merged, and both loads are bounded.
func TestRows(t *testing.T) {
	var of []string
	for _, row := range Rows() {
		of = append(of, row.Of)
		m := &v1alpha1.Model{Spec: v1alpha1.ModelSpec{Container: corev1.Container{Image: "ranker"}}}
		m.Name, m.Namespace = "ranker", "team"
		row.Begin(m)
		m.SetDefaults(context.Background())
		if err := m.Validate(context.Background()); err != nil {
			t.Errorf("%s: %v", row.Name(), err)
		}
		if err := json.Unmarshal([]byte(row.Change), m); err != nil {
			t.Errorf("%s: %v", row.Name(), err)
		} else if err := m.Validate(context.Background()); err != nil {
			t.Errorf("%s, changed: %v", row.Name(), err)
		}
		offered, due := row.Load()
		if err := offered.Validate(); err != nil || due >= offered.Duration() || offered.Duration() > 2*time.Minute {
			t.Errorf("%s: %s of load, the change after %s, %v", row.Name(), offered.Duration(), due, err)
		}
	}
	slices.Sort(of)
	if live := v1alpha1.LiveAutoscaling(); !slices.Equal(of, live) {
		t.Errorf("rows of %q, live are %q", of, live)
	}
}

package asked

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func to[T any](v T) *T { return &v }

// ranker is a Model as it is let in, whose replicas serve 50 requests a second.
func ranker() *v1alpha1.Model {
	rate := resource.MustParse("50")
	m := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker", Annotations: map[string]string{"note": "ours", v1alpha1.AutoscalingPrefix + "window": "20s"}},
		Spec: v1alpha1.ModelSpec{
			Container:   corev1.Container{Image: "ranker"},
			Autoscaling: v1alpha1.AutoscalingSpec{Target: to(int32(5)), MaxReplicas: to(int32(8)), Metric: v1alpha1.MetricConcurrency},
			Limit:       v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
		},
	}
	m.SetDefaults(context.Background())
	return m
}

func TestChangedBy(t *testing.T) {
	for patch, want := range map[string]func(m *v1alpha1.Model){
		`{}`: func(*v1alpha1.Model) {},
		`{"spec": {"autoscaling": {"target": 9, "maxReplicas": null}}}`: func(m *v1alpha1.Model) {
			m.Spec.Autoscaling.Target, m.Spec.Autoscaling.MaxReplicas = to(int32(9)), nil
		},
		`{"spec": {"limit": {"headroomPercent": 50, "burst": "1s"}}}`: func(m *v1alpha1.Model) {
			m.Spec.Limit.HeadroomPercent, m.Spec.Limit.Burst = to(int32(50)), &metav1.Duration{Duration: time.Second}
		},
		`{"spec": {"limit": {"headroomPercent": null}}}`: func(*v1alpha1.Model) {},
		`{"metadata": {"annotations": {"autoscaling.knative.dev/window": null}}, "spec": {"autoscaling": {"window": "30s"}}}`: func(m *v1alpha1.Model) {
			delete(m.Annotations, v1alpha1.AutoscalingPrefix+"window")
			m.Spec.Autoscaling.Window = &metav1.Duration{Duration: 30 * time.Second}
		},
	} {
		is, expected := ranker(), ranker()
		want(expected)
		got, err := changedBy(context.Background(), is, json.RawMessage(patch))
		if err != nil {
			t.Errorf("%s: %v", patch, err)
			continue
		}
		// By their JSON, as a quantity keeps how it was written.
		if a, b := written(t, got), written(t, expected); a != b {
			t.Errorf("%s makes %s, want %s", patch, a, b)
		}
		if !reflect.DeepEqual(is, ranker()) {
			t.Errorf("%s changes the Model itself", patch)
		}
	}
	// How a Model was tuned once, as its history has it, can be asked about.
	patch, err := json.Marshal(ranker().TuningPatch())
	if err != nil {
		t.Fatal(err)
	}
	other := ranker()
	other.Spec.Autoscaling.Target = to(int32(70))
	if got, err := changedBy(context.Background(), other, patch); err != nil || *got.Spec.Autoscaling.Target != 5 {
		t.Errorf("a state of its history: %+v, %v", got, err)
	}
}

func written(t *testing.T, m *v1alpha1.Model) string {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What can't be asked about, or wouldn't be let in, is named with the remedy.
func TestChangedByErrors(t *testing.T) {
	for patch, says := range map[string]string{
		`5`:                                   "changed is no object: give a merge patch",
		`{"status": {}}`:                      "changed.status can't be asked about: of changed give metadata and spec",
		`{"spec": {"container": {}}}`:         "changed.spec.container can't be asked about: of changed.spec give autoscaling and limit",
		`{"spec": {"trial": null}}`:           "changed.spec.trial can't be asked about",
		`{"spec": null}`:                      "changed.spec must be an object",
		`{"spec": {"limit": null}}`:           "the changed Model would be refused",
		`{"spec": 7}`:                         "changed.spec must be an object",
		`{"metadata": {"labels": {}}}`:        "changed.metadata.labels can't be asked about: of changed.metadata give annotations",
		`{"metadata": {"annotations": null}}`: "changed.metadata.annotations must be an object",
		`{"metadata": {"annotations": {"note": "x"}}}`:                              "changed.metadata.annotations[note] can't be asked about: give annotations autoscaling.knative.dev/…",
		`{"metadata": {"annotations": {"autoscaling.knative.dev/target": 5}}}`:      "changed.metadata.annotations[autoscaling.knative.dev/target] must be text: put it in quotes",
		`{"metadata": {"annotations": {"autoscaling.knative.dev/window": "1s"}}}`:   "metadata.annotations[autoscaling.knative.dev/window]",
		`{"spec": {"autoscaling": {"targt": 5}}}`:                                   `changed has fields that a Model can't have: unknown field "spec.autoscaling.targt"`,
		`{"spec": {"autoscaling": {"target": 5, "target": 6}}}`:                     "duplicate field",
		`{"spec": {"autoscaling": {"target": "five"}}}`:                             "must be a whole number",
		`{"spec": {"autoscaling": {"window": 30}}}`:                                 `changed.spec.autoscaling.window`,
		`{"spec": {"autoscaling": {"minReplicas": 9}}}`:                             "the changed Model would be refused: invalid value: is 9, must not be above maxReplicas, which is 8: spec.autoscaling.minReplicas",
		`{"spec": {"limit": {"requestsPerSecondPerReplica": null}}}`:                "spec.limit.requestsPerSecondPerReplica",
		`{"metadata": {"annotations": {"` + strings.Repeat("x", 5000) + `": "x"}}}`: "can't be asked about",
	} {
		got, err := changedBy(context.Background(), ranker(), json.RawMessage(patch))
		if err == nil || !strings.Contains(err.Error(), says) || len(err.Error()) > 1000 {
			t.Errorf("%.100s: %+v, %v, want %q", patch, got, err, says)
		}
	}
}

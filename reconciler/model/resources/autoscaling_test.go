package resources

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Whatever the demand calls for, and whatever others made of a revision, what comes of it is
// something that Knative takes, of a Model that it takes.
func TestPatchesAreTaken(t *testing.T) {
	t.Parallel()
	config, err := autoscalerconfig.NewConfigFromMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	refusal := func(annotations map[string]string) *apis.FieldError {
		return autoscaling.ValidateAnnotations(t.Context(), config, annotations)
	}
	keys := []string{autoscaling.MinScaleAnnotationKey, autoscaling.MaxScaleAnnotationKey, autoscaling.ActivationScaleKey}
	taken := rapid.Custom(func(t *rapid.T) map[string]string {
		out := map[string]string{}
		for _, key := range keys {
			if n := rapid.IntRange(0, 12).Draw(t, key); n > 0 {
				out[key] = strconv.Itoa(n)
			}
		}
		return out
	}).Filter(func(annotations map[string]string) bool { return refusal(annotations) == nil })
	rapid.Check(t, func(t *rapid.T) {
		m, revision := &v1alpha1.Model{}, Scaled{Revision: &servingv1.Revision{}}
		m.Annotations, revision.Annotations = taken.Draw(t, "model"), taken.Draw(t, "revision")
		floor := rapid.Int32Range(0, 15).Draw(t, "floor")
		whole := patchedWith(revision.Annotations, AutoscalingPatch(m, revision, floor))
		if err := refusal(whole); err != nil {
			t.Fatalf("tuned, it has %v: %v", whole, err)
		}
		// The Model's own least may be above the bound of a revision that it is held back at.
		if floored := patchedWith(revision.Annotations, FloorPatch(m, revision, floor)); refusal(floored) != nil {
			t.Fatalf("held back, it has %v: %v", floored, refusal(floored))
		}
		most := rapid.Int64Range(1, 12).Draw(t, "most")
		bounded := patchedWith(revision.Annotations, Bounded(FloorPatch(m, revision, floor), revision.Revision, most))
		if err := refusal(bounded); err != nil || v1alpha1.MaxReplicasOf(bounded) > most {
			t.Fatalf("bounded, it has %v: %v", bounded, err)
		}
	})
}

func TestBehind(t *testing.T) {
	t.Parallel()
	const prefix = v1alpha1.AutoscalingPrefix
	given := map[string]string{prefix + "class": autoscaling.KPA, prefix + "metric": "concurrency"}
	with := func(key, value string) map[string]string {
		out := maps.Clone(given)
		out[prefix+key] = value
		return out
	}
	for name, c := range map[string]struct {
		revision, autoscaler map[string]string
		want                 []string
	}{
		"as Knative makes it":                {nil, given, nil},
		"what isn't for it":                  {map[string]string{"serving.knative.dev/creator": "x"}, given, nil},
		"one that it has":                    {map[string]string{prefix + "window": "8s"}, with("window", "8s"), nil},
		"one that it lacks":                  {map[string]string{prefix + "window": "8s"}, given, []string{prefix + "window"}},
		"another value":                      {map[string]string{prefix + "window": "8s"}, with("window", "6s"), []string{prefix + "window"}},
		"one that was taken away":            {nil, with("window", "6s"), []string{prefix + "window"}},
		"another metric":                     {map[string]string{prefix + "metric": "rps"}, given, []string{prefix + "metric"}},
		"a metric that it is to be given":    {map[string]string{prefix + "metric": "rps"}, nil, nil},
		"what is taken away isn't defaulted": {map[string]string{prefix + "window": "8s"}, with("min-scale", "2"), []string{prefix + "min-scale", prefix + "window"}},
	} {
		revision, autoscaler := &servingv1.Revision{}, &autoscalingv1alpha1.PodAutoscaler{}
		revision.Annotations, autoscaler.Annotations = c.revision, c.autoscaler
		if got := Behind(revision, autoscaler); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What names no class has the cluster's as of when Knative made its PodAutoscaler.
func TestUnnamed(t *testing.T) {
	t.Parallel()
	autoscaler := &autoscalingv1alpha1.PodAutoscaler{}
	if got := Unnamed(nil, autoscaling.HPA); got != autoscaling.HPA {
		t.Errorf("one that is to be made has %q, want the cluster's", got)
	}
	autoscaler.Annotations = map[string]string{autoscaling.ClassAnnotationKey: autoscaling.KPA}
	if got := Unnamed(autoscaler, autoscaling.HPA); got != autoscaling.KPA {
		t.Errorf("one that was made has %q, want what it was given", got)
	}
}

// A template says nothing to an autoscaler of another class that is meant for Knative's own.
func TestOfClass(t *testing.T) {
	t.Parallel()
	const metric = v1alpha1.AutoscalingPrefix + "metric"
	for name, c := range map[string]struct {
		cluster string
		own     map[string]string
		want    string
	}{
		"Knative's":                    {autoscaling.KPA, nil, "concurrency"},
		"another":                      {autoscaling.HPA, nil, ""},
		"another, and a metric for it": {autoscaling.HPA, map[string]string{metric: "memory"}, "memory"},
		"another, and Knative's named": {autoscaling.HPA, map[string]string{autoscaling.ClassAnnotationKey: autoscaling.KPA}, "concurrency"},
	} {
		m := model(t, "minimal")
		m.Annotations = c.own
		service := Service(m, nil)
		before := len(service.Spec.Template.Annotations)
		OfClass(m, service, c.cluster)
		if got := service.Spec.Template.Annotations[metric]; got != c.want {
			t.Errorf("%s: the metric is %q, want %q", name, got, c.want)
		}
		if got := len(service.Spec.Template.Annotations); got < before-1 || c.want != "" && got != before {
			t.Errorf("%s: other annotations are gone: %v", name, cmp.Diff(before, got))
		}
	}
}

package v1alpha1

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// anyTuned is a Model that is tuned in any way.
func anyTuned(t *rapid.T, name string) *Model {
	var keys []string
	for _, spellings := range autoscalingKeys {
		keys = append(keys, spellings...)
	}
	m := validModel()
	m.Spec.Autoscaling = rapid.Make[AutoscalingSpec]().Draw(t, name+"'s autoscaling")
	milli := rapid.Int64Range(1, 1e9).Draw(t, name+"'s rate, in thousandths")
	m.Spec.Limit.RequestsPerSecondPerReplica = rapid.SampledFrom([]*resource.Quantity{nil, resource.NewMilliQuantity(milli, resource.DecimalSI)}).Draw(t, name+"'s rate")
	m.Spec.Limit.Policy = rapid.SampledFrom([]LimitPolicy{"", PolicyDemand, PolicyReady}).Draw(t, name+"'s policy")
	m.Spec.Limit.HeadroomPercent = rapid.Ptr(rapid.Int32(), true).Draw(t, name+"'s headroom")
	period := metav1.Duration{Duration: time.Duration(rapid.Int64().Draw(t, name+"'s period"))}
	m.Spec.Limit.Burst = rapid.SampledFrom([]*metav1.Duration{nil, &period}).Draw(t, name+"'s burst")
	m.Spec.Limit.Queue = rapid.SampledFrom([]*QueueSpec{nil, {Wait: period}}).Draw(t, name+"'s queue")
	m.Annotations = rapid.MapOf(rapid.SampledFrom(keys), rapid.String()).Draw(t, name+"'s annotations")
	return m
}

// The patch of a state gives it back, whatever was tuned meanwhile, and takes nothing else along.
func TestTuningPatchGivesItsStateBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state, other := anyTuned(t, "state"), anyTuned(t, "other")
		state.Spec.Container.Image, state.Labels = "registry.example/ranker:1", map[string]string{"team": "search"}
		other.Spec.Container.Image = "registry.example/ranker:2"
		metav1.SetMetaDataAnnotation(&other.ObjectMeta, "example.com/other", "stays")

		patch, err := json.Marshal(state.TuningPatch())
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		patched, err := jsonpatch.MergePatch(text, patch)
		if err != nil {
			t.Fatal(err)
		}
		back := &Model{}
		if err := json.Unmarshal(patched, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(TuningSettings(state.TuningPatch()), TuningSettings(back.TuningPatch())); diff != "" {
			t.Error("settings (-state, +patched):", diff)
		}
		if state.TuningHash() != back.TuningHash() {
			t.Error("it has another hash")
		}
		if back.Spec.Container.Image != other.Spec.Container.Image || back.Labels != nil || back.Annotations["example.com/other"] != "stays" {
			t.Errorf("more than the tuning changed: %+v, %+v", back.ObjectMeta, back.Spec.Container)
		}
	})
}

func TestTuningSettings(t *testing.T) {
	t.Parallel()
	tuned := func(m *Model) {
		m.Spec.Autoscaling.Target, m.Spec.Autoscaling.MaxReplicas = ptr(int32(5)), ptr(int32(2147483647))
		m.Spec.Limit.RequestsPerSecondPerReplica, m.Spec.Limit.Queue = quantity("33500m"), &QueueSpec{Wait: *duration("1m")}
		m.Annotations = map[string]string{
			"autoscaling.knative.dev/window": "30s", "autoscaling.knative.dev/minScale": "", "autoscaling.example.com/mode": "x", "example.com/other": "x",
		}
	}
	m := validModel()
	tuned(m)
	m.SetDefaults(context.Background())
	want := map[string]string{
		"spec.autoscaling.target":                                "5",
		"spec.autoscaling.maxReplicas":                           "2147483647",
		"spec.autoscaling.metric":                                "concurrency",
		"spec.limit.requestsPerSecondPerReplica":                 "33.5",
		"spec.limit.burst":                                       "100ms",
		"spec.limit.headroomPercent":                             "100",
		"spec.limit.policy":                                      "Demand",
		"spec.limit.queue.wait":                                  "1m0s",
		"metadata.annotations[autoscaling.knative.dev/window]":   "30s",
		"metadata.annotations[autoscaling.knative.dev/minScale]": "",
	}
	if diff := cmp.Diff(want, TuningSettings(m.TuningPatch())); diff != "" {
		t.Error("settings (-want, +got):", diff)
	}
}

// Of a Model that says nothing all there is to say is null.
func TestTuningPatchHasNulls(t *testing.T) {
	t.Parallel()
	patch, err := json.Marshal((&Model{}).TuningPatch())
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Metadata struct{ Annotations map[string]any }
		Spec     struct{ Autoscaling, Limit map[string]any }
	}
	if err := json.Unmarshal(patch, &read); err != nil {
		t.Fatal(err)
	}
	for part, of := range map[string]struct {
		got  map[string]any
		want []string
	}{
		"annotations": {read.Metadata.Annotations, []string{
			"autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale", "autoscaling.knative.dev/class",
			"autoscaling.knative.dev/activation-scale", "autoscaling.knative.dev/panic-window-percentage", "autoscaling.knative.dev/target",
		}},
		"autoscaling": {read.Spec.Autoscaling, []string{
			"minReplicas", "maxReplicas", "initialReplicas", "metric", "target", "targetUtilization", "window", "scaleDownDelay",
			"scaleToZeroRetention", "targetBurstCapacity",
		}},
		"limit": {read.Spec.Limit, []string{"requestsPerSecondPerReplica", "burst", "queue", "policy", "headroomPercent"}},
	} {
		for _, name := range of.want {
			if value, there := of.got[name]; !there || value != nil {
				t.Errorf("%s has %s: %v, is there: %t; want null", part, name, value, there)
			}
		}
	}
}

package v1alpha1

import (
	"context"
	"strings"
	"testing"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/serving"
)

func TestMetadataIsValidated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		labels, annotations map[string]string
		refused, warned     string // part of what is said, with its field; "" for nothing
	}{
		{name: "none"},
		{name: "other people's", labels: map[string]string{"team": "search"}, annotations: map[string]string{"prometheus.io/scrape": "true"}},
		{name: "private", labels: map[string]string{"networking.knative.dev/visibility": "cluster-local"}},
		{
			name: "neither private nor public", labels: map[string]string{"networking.knative.dev/visibility": "local"},
			refused: `must be cluster-local, for callers inside the cluster alone, is "local"; take it away for a Model that is public: metadata.labels[networking.knative.dev/visibility]`,
		},
		{
			name: "a rollout by the clock", annotations: map[string]string{serving.RolloutDurationKey: "60s"},
			refused: "spec.rollout says how it goes: metadata.annotations[serving.knative.dev/rollout-duration]",
		},
		{
			name: "queue-proxy's memory", annotations: map[string]string{serving.QueueSidecarMemoryResourceLimitAnnotationKey: "64Mb"},
			refused: "64Mb: metadata.annotations[queue.sidecar.serving.knative.dev/memory-resource-limit]",
		},
		{
			name: "queue-proxy's share", annotations: map[string]string{"queue.sidecar.serving.knative.dev/resource-percentage": "200"},
			refused: "metadata.annotations[queue.sidecar.serving.knative.dev/resource-percentage]", warned: "deprecated",
		},
		{
			name: "what Knative writes", annotations: map[string]string{serving.CreatorAnnotation: "somebody"},
			warned: "not handed on: metadata.annotations[serving.knative.dev/creator]",
		},
		{name: "what Sluice writes", labels: map[string]string{"sluice.dev/tenant": "rival"}, warned: "not handed on: metadata.labels[sluice.dev/tenant]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := validate(context.Background(), func(m *Model) { m.Labels, m.Annotations = c.labels, c.annotations })
			refused, warned := "", warningsBySluice(got.Filter(apis.WarningLevel))
			if err := got.Filter(apis.ErrorLevel); err != nil {
				refused = err.Error()
			}
			if (c.refused == "") != (refused == "") || !strings.Contains(refused, c.refused) {
				t.Errorf("refused = %q, want %q", refused, c.refused)
			}
			if (c.warned == "") != (warned == "") || !strings.Contains(warned, c.warned) {
				t.Errorf("warned = %q, want %q", warned, c.warned)
			}
		})
	}
}

// What was there before it was refused is warned about, so that the Model can be changed.
func TestMetadataOfBefore(t *testing.T) {
	t.Parallel()
	before := validModel()
	before.Annotations = map[string]string{serving.RolloutDurationKey: "60s"}
	before.SetDefaults(context.Background())
	ctx := apis.WithinUpdate(context.Background(), before)

	after := before.DeepCopy()
	after.Spec.Container.Image += "2"
	got := after.Validate(ctx)
	if err := got.Filter(apis.ErrorLevel); err != nil {
		t.Error("unexpected error:", err)
	}
	if warned := warningsBySluice(got.Filter(apis.WarningLevel)); !strings.Contains(warned, "spec.rollout") {
		t.Errorf("warned = %q, want what to do instead", warned)
	}
	after.Annotations[serving.RolloutDurationKey] = "90s"
	if err := after.Validate(ctx).Filter(apis.ErrorLevel); err == nil {
		t.Error("another value was let in")
	}
}

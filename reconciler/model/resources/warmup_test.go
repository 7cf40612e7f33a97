package resources

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

const image = "registry.example/sluice/warmup@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

// recorded is what the Model "warmed" takes a body from.
func recorded(body string) map[string]*corev1.ConfigMap {
	return map[string]*corev1.ConfigMap{"recorded": {Data: map[string]string{"large.json": body}}}
}

// pinnedService is the Service of a Model, before its template is built.
func pinnedService(t *testing.T, m *v1alpha1.Model) *servingv1.Service {
	t.Helper()
	return PinWarmUp(m, EmptyService(m), pins(t, m))
}

func pins(t *testing.T, m *v1alpha1.Model) WarmUpPins {
	t.Helper()
	bodies, err := WarmUpBodies(m, recorded("large"))
	if err != nil {
		t.Fatal(err)
	}
	pins := WarmUpPins{Image: image}
	if bodies != nil {
		pins.Bodies = bodies.Name
	}
	return pins
}

func TestGoldenBodies(t *testing.T) {
	t.Parallel()
	bodies, err := WarmUpBodies(model(t, "warmed"), recorded("large"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/warmed/bodies.out.yaml", bodies)
}

// What Knative allows, where it probes more than one container.
func TestKnativeTakesTheTemplate(t *testing.T) {
	t.Parallel()
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"multi-container-probing": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := servingconfig.ToContext(apis.WithinCreate(context.Background()), &servingconfig.Config{Features: features})
	for _, name := range []string{"warmed", "corpus"} {
		m := model(t, name)
		service := RebuildService(m, nil, pinnedService(t, m))
		service.SetDefaults(ctx)
		if err := service.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if serving := service.Spec.Template.Spec.GetContainer(); serving.Image != m.Spec.Container.Image {
			t.Errorf("%s: requests go to %s", name, serving.Image)
		}
	}
}

// An upgrade of Sluice, or a ConfigMap that changes, is no reason for a revision: a
// template that is restored has the pins that it was built with.
func TestPinsStay(t *testing.T) {
	t.Parallel()
	m := model(t, "warmed")
	built := RebuildService(m, nil, pinnedService(t, m))
	if !BuiltFrom(m, built) {
		t.Error("another image makes a revision")
	}
	edited := built.DeepCopy()
	edited.Spec.Template.Spec.Containers = edited.Spec.Template.Spec.Containers[:1]
	if diff := cmp.Diff(built, RestoreService(m, nil, edited)); diff != "" {
		t.Error("restored (-want, +got):", diff)
	}
	m.Spec.WarmUp.Repeat++
	if BuiltFrom(m, built) {
		t.Error("another warm-up makes no revision")
	}
	m.Spec.WarmUp = nil
	if got := RebuildService(m, nil, PinWarmUp(m, built, WarmUpPins{})); WarmUpPinsOf(got) != (WarmUpPins{}) || len(got.Spec.Template.Spec.Containers) != 1 {
		t.Errorf("without a warm-up there is one left: %+v", got)
	}
}

func TestWarmUpBodies(t *testing.T) {
	t.Parallel()
	m := model(t, "warmed")
	one, err := WarmUpBodies(m, recorded("one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := WarmUpBodies(m, recorded("two"))
	if err != nil || one.Name == two.Name {
		t.Errorf("%v, %s: other bodies have the same name", err, two.Name)
	}
	for says, sources := range map[string]map[string]*corev1.ConfigMap{
		`request 2: there is no ConfigMap "recorded"`:                           nil,
		`request 2: ConfigMap "recorded" has no key "large.json"`:               {"recorded": {}},
		"1048591 bytes together, must be at most 1048576: spec.warmUp.requests": recorded(strings.Repeat("x", 1<<20+1)),
	} {
		if _, err := WarmUpBodies(m, sources); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// The kernel takes at most 128 KiB in a variable; what has no room there lies beside.
func TestPlanFitsAVariable(t *testing.T) {
	t.Parallel()
	m := model(t, "warmed")
	for _, size := range []int{maxInlineBodies, maxInlineBodies + 1, warmup.MaxBodies} {
		m.Spec.WarmUp.Requests = []v1alpha1.WarmUpRequest{{Path: "/", BodyBytes: bytes.Repeat([]byte{1}, size)}}
		bodies, err := WarmUpBodies(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := encodePlan(warmUpPlan(&m.Spec))
		if len(text) > 128<<10-1<<10 {
			t.Errorf("%d bytes of bodies make a plan of %d", size, len(text))
		}
		var plan warmup.Plan
		if err := json.Unmarshal([]byte(text), &plan); err != nil {
			t.Fatal(err)
		}
		if inline := size <= maxInlineBodies; inline != (bodies == nil) || inline != (plan.Requests[0].BodyFile == "") || inline != (len(plan.Requests[0].BodyBytes) == size) {
			t.Errorf("%d bytes: %d in the plan, in file %q", size, len(plan.Requests[0].BodyBytes), plan.Requests[0].BodyFile)
		}
	}
}

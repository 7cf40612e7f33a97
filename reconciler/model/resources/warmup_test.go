package resources

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"
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

// Every kind of probe that Knative lets a container have is asked, if it can be from
// beside it; what they leave open of the model is known.
func TestProbes(t *testing.T) {
	t.Parallel()
	service := "ranker"
	get := func(path string, port int) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port)}}
	}
	tcp := func(port int) corev1.ProbeHandler {
		return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}
	}
	exec := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"ready"}}}
	for name, tt := range map[string]struct {
		startup, readiness *corev1.Probe
		want               []warmup.Probe
		conclusive         bool
	}{
		"none":         {},
		"no handler":   {readiness: &corev1.Probe{PeriodSeconds: 5}},
		"its own port": {startup: &corev1.Probe{ProbeHandler: tcp(9000)}, readiness: &corev1.Probe{ProbeHandler: tcp(0)}},
		"another port": {
			readiness: &corev1.Probe{ProbeHandler: tcp(9001)}, conclusive: true,
			want: []warmup.Probe{{Name: "readinessProbe", Port: 9001, TimeoutSeconds: 3}},
		},
		"httpGet": {
			readiness: &corev1.Probe{ProbeHandler: get("/ready", 0)}, conclusive: true,
			want: []warmup.Probe{{Name: "readinessProbe", Port: 9000, TimeoutSeconds: 3, HTTP: &warmup.HTTPProbe{Path: "/ready"}}},
		},
		"httpGet of another host, which Knative leaves out": {
			readiness: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Host: "elsewhere", Port: intstr.FromString("h2c"), Scheme: corev1.URISchemeHTTPS,
				HTTPHeaders: []corev1.HTTPHeader{{Name: "Key", Value: "a"}, {Name: "Key", Value: "b"}},
			}}}, conclusive: true,
			want: []warmup.Probe{{
				Name: "readinessProbe", Port: 9000, TimeoutSeconds: 3,
				HTTP: &warmup.HTTPProbe{HTTPS: true, Headers: map[string][]string{"Key": {"a", "b"}}},
			}},
		},
		"startup and readiness": {
			startup: &corev1.Probe{ProbeHandler: get("/started", 9001), TimeoutSeconds: 20}, readiness: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Service: &service}}},
			conclusive: true,
			want: []warmup.Probe{
				{Name: "startupProbe", Port: 9001, TimeoutSeconds: 20, HTTP: &warmup.HTTPProbe{Path: "/started"}},
				{Name: "readinessProbe", Port: 9000, TimeoutSeconds: 3, GRPC: &warmup.GRPCProbe{Service: service}},
			},
		},
		"startup by gRPC": {
			startup: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000}}}, conclusive: true,
			want: []warmup.Probe{{Name: "startupProbe", Port: 9000, TimeoutSeconds: 1, GRPC: &warmup.GRPCProbe{}}},
		},
		"exec": {readiness: &corev1.Probe{ProbeHandler: exec}},
		"startup by exec": {
			startup: &corev1.Probe{ProbeHandler: exec}, readiness: &corev1.Probe{ProbeHandler: get("/ready", 0)},
			want: []warmup.Probe{{Name: "readinessProbe", Port: 9000, TimeoutSeconds: 3, HTTP: &warmup.HTTPProbe{Path: "/ready"}}},
		},
		"startup at the node": {
			startup: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "127.0.0.1", Port: intstr.FromInt(9001)}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model(t, "warmed")
			m.Spec.Container.StartupProbe, m.Spec.Container.ReadinessProbe = tt.startup, tt.readiness
			got := warmUpPlan(&m.Spec).Model
			if diff := cmp.Diff(tt.want, got.Probes); diff != "" || got.Conclusive != tt.conclusive {
				t.Errorf("conclusive is %t, want %t; probes (-want, +got): %s", got.Conclusive, tt.conclusive, diff)
			}
		})
	}
}

// A warm-up never shortens what a start may take by the Model's or the cluster's word.
func TestProgressDeadline(t *testing.T) {
	t.Parallel()
	const timeout = 90 * time.Second // of the warm-up
	for name, tt := range map[string]struct {
		own     string
		cluster time.Duration
		want    string
		cold    string // without a warm-up
	}{
		"neither":           {"", 0, "11m30s", ""},
		"Knative's own":     {"", 10 * time.Minute, "11m30s", ""},
		"the cluster's":     {"", time.Hour, "1h1m30s", ""},
		"a shorter one":     {"", time.Minute, "11m30s", ""},
		"the Model's":       {"2h", time.Hour, "2h1m30s", "2h0m0s"},
		"a shorter Model's": {"5m", time.Hour, "1h1m30s", "5m0s"},
		"none":              {"soon", 0, "11m30s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model(t, "warmed")
			m.Spec.WarmUp.Timeout = &metav1.Duration{Duration: timeout}
			if tt.own != "" {
				m.Annotations = map[string]string{serving.ProgressDeadlineAnnotationKey: tt.own}
			}
			pinned := pins(t, m)
			pinned.StartWithin = tt.cluster
			built := RebuildService(m, nil, PinWarmUp(m, EmptyService(m), pinned))
			if got := built.Spec.Template.Annotations[serving.ProgressDeadlineAnnotationKey]; got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if restored := RestoreService(m, nil, built); !cmp.Equal(built, restored) {
				t.Error("restored (-want, +got):", cmp.Diff(built, restored))
			}
			m.Spec.WarmUp = nil
			if got := Service(m, nil).Spec.Template.Annotations[serving.ProgressDeadlineAnnotationKey]; got != tt.cold {
				t.Errorf("%q without a warm-up, want %q", got, tt.cold)
			}
		})
	}
}

// Another deadline makes a revision, as none can be changed in a live one.
func TestProgressDeadlineMakesARevision(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	before := TemplateHash(m)
	m.Annotations = map[string]string{serving.ProgressDeadlineAnnotationKey: "20m"}
	after := TemplateHash(m)
	m.Annotations[serving.ProgressDeadlineAnnotationKey] = "1200s"
	if before == after || TemplateHash(m) != after {
		t.Errorf("%s, with 20m %s, with 1200s %s", before, after, TemplateHash(m))
	}
}

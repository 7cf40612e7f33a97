package v1alpha1

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// probing is a cluster in which a replica can be held back.
func probing(t *testing.T) context.Context {
	t.Helper()
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"multi-container-probing": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	return servingconfig.ToContext(context.Background(), &servingconfig.Config{Features: features})
}

func warming(requests ...WarmUpRequest) func(*Model) {
	return func(m *Model) { m.Spec.WarmUp = &WarmUpSpec{Requests: requests, Repeat: 1} }
}

func warmingBy(change func(*WarmUpSpec)) func(*Model) {
	return func(m *Model) {
		warming(WarmUpRequest{Path: "/"})(m)
		change(m.Spec.WarmUp)
	}
}

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestValidWarmUps(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Model){
		"none":             func(m *Model) { m.Spec.WarmUp = nil },
		"only waits":       func(m *Model) { m.Spec.WarmUp = &WarmUpSpec{} },
		"path and query":   warming(WarmUpRequest{Path: "/v2/models/ranker/infer?trace=%20no"}),
		"levels off":       warmingBy(func(w *WarmUpSpec) { w.Repeat, w.Until = 0, &WarmUpUntil{Stable: &WarmUpStable{}} }),
		"levels off, most": warmingBy(func(w *WarmUpSpec) { w.Until = &WarmUpUntil{Stable: &WarmUpStable{Window: 5, Tolerance: 50}} }),
		"bodies":           warming(WarmUpRequest{Path: "/", Body: "{}"}, WarmUpRequest{Path: "/", Method: "PUT", BodyBytes: []byte{0}}),
		"from a ConfigMap": warming(WarmUpRequest{Path: "/", BodyFrom: &WarmUpBodySource{ConfigMapKeyRef: &WarmUpConfigMapKey{Name: "bodies", Key: "a.json"}}}),
		"corpus": warmingBy(func(w *WarmUpSpec) {
			w.Requests, w.Corpus = nil, &WarmUpCorpus{Image: "10.88.0.1:5000/corpus:1" + digest}
		}),
		"expectations": warming(WarmUpRequest{Path: "/", Expect: &WarmUpExpectation{
			Status: ptr(int32(404)), JSON: &WarmUpJSONValue{Path: "{.outputs[0].name}", Value: "score"}, Body: "x",
		}}),
		"gRPC": func(m *Model) {
			warming(WarmUpRequest{GRPC: "inference.GRPCInferenceService/ModelInfer", BodyBytes: []byte{1}, Expect: &WarmUpExpectation{Status: ptr(int32(0))}})(m)
			m.Spec.Container.Ports = []corev1.ContainerPort{{Name: "h2c", ContainerPort: 9000}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := errorsOf(probing(t), change); err != nil {
				t.Error("unexpected error:", err)
			}
		})
	}
}

func TestInvalidWarmUps(t *testing.T) {
	t.Parallel()
	const request = "spec.warmUp.requests[0]"
	large := strings.Repeat("x", warmup.MaxBodies)
	for _, c := range []struct {
		name   string
		change func(*Model)
		path   string // that the error names
		says   string // part of what it says
	}{
		{"no end", warmingBy(func(w *WarmUpSpec) { w.Repeat = 0 }), "spec.warmUp.repeat", "latency falls no more"},
		{"nothing to repeat", warmingBy(func(w *WarmUpSpec) { w.Requests = nil }), "spec.warmUp.requests", "say what is to be repeated"},
		{"until what", warmingBy(func(w *WarmUpSpec) { w.Until = &WarmUpUntil{} }), "spec.warmUp.until.stable", "missing"},
		{"repeat", warmingBy(func(w *WarmUpSpec) { w.Repeat = -1 }), "spec.warmUp.repeat", "from 1"},
		{"concurrency", warmingBy(func(w *WarmUpSpec) { w.Concurrency = 65 }), "spec.warmUp.concurrency", "from 1 to 64"},
		{"window", warmingBy(func(w *WarmUpSpec) { w.Until = &WarmUpUntil{Stable: &WarmUpStable{Window: 4}} }), "spec.warmUp.until.stable.window", "from 5 to 100"},
		{"tolerance", warmingBy(func(w *WarmUpSpec) { w.Until = &WarmUpUntil{Stable: &WarmUpStable{Tolerance: 51}} }), "spec.warmUp.until.stable.tolerance", "from 1 to 50"},
		{"short timeout", warmingBy(func(w *WarmUpSpec) { w.Timeout = duration("999ms") }), "spec.warmUp.timeout", "from 1s to 1h"},
		{"long timeout", warmingBy(func(w *WarmUpSpec) { w.Timeout = duration("61m") }), "spec.warmUp.timeout", "from 1s to 1h"},
		{"on failure", warmingBy(func(w *WarmUpSpec) { w.OnFailure = "Ignore" }), "spec.warmUp.onFailure", "Block or Serve"},
		{"too many", warming(make([]WarmUpRequest, 101)...), "spec.warmUp.requests", "in a corpus"},
		{"too large", warming(WarmUpRequest{Path: "/", Body: large}, WarmUpRequest{Path: "/", Body: "x"}), "spec.warmUp.requests", "1048577 bytes together, must be at most 1048576"},
		{"both", warmingBy(func(w *WarmUpSpec) { w.Corpus = &WarmUpCorpus{Image: "corpus" + digest} }), "spec.warmUp.corpus", "got both"},
		{"by tag", warmingBy(func(w *WarmUpSpec) { w.Requests, w.Corpus = nil, &WarmUpCorpus{Image: "corpus:latest"} }), "spec.warmUp.corpus.image", "by its digest"},

		{"relative path", warming(WarmUpRequest{Path: "infer"}), request + ".path", "begins with /"},
		{"a URL", warming(WarmUpRequest{Path: "http://model/"}), request + ".path", "begins with /"},
		{"space", warming(WarmUpRequest{Path: "/a b"}), request + ".path", "begins with /"},
		{"no call", warming(WarmUpRequest{}), request + ".path", "expected exactly one"},
		{"two calls", warming(WarmUpRequest{Path: "/", GRPC: "a.B/C"}), request + ".grpc", "got both"},
		{"method", warming(WarmUpRequest{Path: "/", Method: "get"}), request + ".method", "capital letters"},
		{"method of gRPC", warming(WarmUpRequest{GRPC: "a.B/C", Method: "POST"}), request + ".method", "got both"},
		{"name of gRPC", warming(WarmUpRequest{GRPC: "/a.B/C"}), request + ".grpc", "package.Service/Method"},
		{"gRPC without HTTP/2", warming(WarmUpRequest{GRPC: "a.B/C"}), request + ".grpc", "port h2c"},
		{"long name", warming(WarmUpRequest{Path: "/", Name: strings.Repeat("x", 64)}), request + ".name", "at most 63"},
		{"header", warming(WarmUpRequest{Path: "/", Headers: map[string]string{"a b": "c"}}), request + ".headers", "name of a header"},
		{"marker", warming(WarmUpRequest{Path: "/", Headers: map[string]string{"sluice-warm-up": "no"}}), request + ".headers[sluice-warm-up]", "Sluice itself"},
		{"length", warming(WarmUpRequest{Path: "/", Headers: map[string]string{"content-length": "1"}}), request + ".headers[content-length]", "leave it out"},
		{"two lines", warming(WarmUpRequest{Path: "/", Headers: map[string]string{"A": "b\r\nC: d"}}), request + ".headers[A]", "one line"},
		{"large headers", warming(WarmUpRequest{Path: "/", Headers: map[string]string{"A": large}}), request + ".headers", "at most 8192 bytes"},
		{"two bodies", warming(WarmUpRequest{Path: "/", Body: "{}", BodyFrom: &WarmUpBodySource{}}), request + ".bodyFrom", "got both"},
		{"body from where", warming(WarmUpRequest{Path: "/", BodyFrom: &WarmUpBodySource{}}), request + ".bodyFrom.configMapKeyRef", "missing"},
		{"ConfigMap", warming(WarmUpRequest{Path: "/", BodyFrom: &WarmUpBodySource{ConfigMapKeyRef: &WarmUpConfigMapKey{Name: "A B", Key: "x"}}}), request + ".bodyFrom.configMapKeyRef.name", "name of a ConfigMap"},
		{"no key", warming(WarmUpRequest{Path: "/", BodyFrom: &WarmUpBodySource{ConfigMapKeyRef: &WarmUpConfigMapKey{Name: "a"}}}), request + ".bodyFrom.configMapKeyRef.key", "missing"},
		{"expected status", warming(WarmUpRequest{Path: "/", Expect: &WarmUpExpectation{Status: ptr(int32(20))}}), request + ".expect.status", "from 200 to 599"},
		{"two answers", warming(WarmUpRequest{Path: "/", Expect: &WarmUpExpectation{Body: "x", BodyBytes: []byte("x")}}), request + ".expect.body", "got both"},
		{"no JSONPath", warming(WarmUpRequest{Path: "/", Expect: &WarmUpExpectation{JSON: &WarmUpJSONValue{Path: "{.a["}}}), request + ".expect.json.path", "JSONPath"},
		{"a word", warming(WarmUpRequest{Path: "/", Expect: &WarmUpExpectation{JSON: &WarmUpJSONValue{Path: "outputs"}}}), request + ".expect.json.path", "JSONPath"},
		{"JSON of gRPC", warming(WarmUpRequest{GRPC: "a.B/C", Expect: &WarmUpExpectation{JSON: &WarmUpJSONValue{Path: "{.a}"}}}), request + ".expect.json", "no JSON"},
		{"code", warming(WarmUpRequest{GRPC: "a.B/C", Expect: &WarmUpExpectation{Status: ptr(int32(17))}}), request + ".expect.status", "from 0 to 16"},

		{"name of the container", func(m *Model) {
			warming(WarmUpRequest{Path: "/"})(m)
			m.Spec.Container.Name = warmup.ContainerName
		}, "spec.container.name", "name this one otherwise"},
		{"port", func(m *Model) {
			warming(WarmUpRequest{Path: "/"})(m)
			m.Spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: warmup.Port}}
		}, "spec.container.ports", "use another one"},
		{"port of a probe", func(m *Model) {
			warming(WarmUpRequest{Path: "/"})(m)
			m.Spec.Container.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(warmup.Port)}}}
		}, "spec.container.livenessProbe", "the model's own"},
		{"volume", func(m *Model) {
			warming(WarmUpRequest{Path: "/"})(m)
			m.Spec.Volumes = []corev1.Volume{{Name: "sluice-warm-up", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "sluice-warm-up", MountPath: "/x"}}
		}, "spec.volumes[0].name", "Sluice's own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := errorsOf(probing(t), c.change)
			if !slices.ContainsFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.Contains(e.Paths, c.path) && strings.Contains(e.Error(), c.says)
			}) {
				t.Errorf("got %v\nwant an error at %s that says %q", err, c.path, c.says)
			}
		})
	}
}

// Where Knative doesn't probe a second container, a replica would serve cold.
func TestWarmUpNeedsProbing(t *testing.T) {
	t.Parallel()
	err := errorsOf(context.Background(), warming(WarmUpRequest{Path: "/"}))
	if err == nil || !strings.Contains(err.Error(), "multi-container-probing: enabled") || !strings.Contains(err.Error(), "spec.warmUp") {
		t.Errorf("got %v, want the field and the remedy", err)
	}
}

func TestWarmUpLongerThanRequests(t *testing.T) {
	t.Parallel()
	slow := warmingBy(func(w *WarmUpSpec) { w.Timeout = duration("300s") })
	if got := warningsBySluice(validate(probing(t), slow)); !strings.Contains(got, "given up after timeoutSeconds, which is 300") {
		t.Errorf("warnings: %s", got)
	}
	kept := func(m *Model) {
		slow(m)
		m.Spec.Autoscaling.MinReplicas = ptr(int32(1))
	}
	if got := warningsBySluice(validate(probing(t), kept)); strings.Contains(got, "given up") {
		t.Errorf("a replica is kept, and yet: %s", got)
	}
}

func TestWarmUpDefaults(t *testing.T) {
	t.Parallel()
	m := validModel()
	m.Spec.WarmUp = &WarmUpSpec{
		Requests: []WarmUpRequest{{Path: "/"}, {Path: "/", Body: "x"}, {Path: "/", Method: "PUT", Body: "x"}, {GRPC: "a.B/C"}},
		Until:    &WarmUpUntil{Stable: &WarmUpStable{}},
	}
	m.SetDefaults(context.Background())
	w := m.Spec.WarmUp
	var methods []string
	for _, r := range w.Requests {
		methods = append(methods, r.Method)
	}
	if want := []string{"GET", "POST", "PUT", ""}; !slices.Equal(methods, want) {
		t.Errorf("methods %q, want %q", methods, want)
	}
	if w.Concurrency != 1 || w.Timeout.Duration != DefaultWarmUpTimeout || w.OnFailure != WarmUpBlock || *w.Until.Stable != (WarmUpStable{Window: 10, Tolerance: 10}) {
		t.Errorf("got %+v, stable %+v", w, w.Until.Stable)
	}
}

// What can't be asked from beside the model is said, with the remedy.
func TestProbesThatCantBeAsked(t *testing.T) {
	t.Parallel()
	exec := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	at := func(host string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: host, Port: intstr.FromInt32(8080)}}}
	}
	for name, tt := range map[string]struct {
		startup, readiness *corev1.Probe
		field              string // of the warning; "" for none
	}{
		"none":              {},
		"httpGet":           {at(""), at(""), ""},
		"startup by exec":   {exec, at(""), "spec.container.startupProbe"},
		"readiness by exec": {at(""), exec, "spec.container.readinessProbe"},
		"at another host":   {at("10.0.0.1"), nil, "spec.container.startupProbe"},
		"at the pod":        {nil, at("10.0.0.1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := warningsBySluice(validate(probing(t), both(warming(WarmUpRequest{Path: "/"}), func(m *Model) {
				m.Spec.Container.StartupProbe, m.Spec.Container.ReadinessProbe = tt.startup, tt.readiness
			})))
			if said := strings.Contains(got, "the warm-up can't ask this probe"); said != (tt.field != "") || !strings.Contains(got, tt.field) {
				t.Errorf("warnings: %q, want one of %q", got, tt.field)
			}
		})
	}
	waits := both(func(m *Model) { m.Spec.WarmUp = &WarmUpSpec{} }, func(m *Model) { m.Spec.Container.ReadinessProbe = exec })
	if got := warningsBySluice(validate(probing(t), waits)); strings.Contains(got, "can't ask") {
		t.Errorf("warned of a warm-up without requests: %s", got)
	}
}

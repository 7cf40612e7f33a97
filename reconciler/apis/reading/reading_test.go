package reading

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Whatever Go's decoder refuses of a spec is explained, at a path in it; and what has its
// fields in their own case and is taken needs no explanation.
func TestWhatCantBeReadIsExplained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := map[string]any{
			"container": map[string]any{
				"image": leaf.Draw(t, "image"), "env": leaf.Draw(t, "env"), "ports": []any{map[string]any{"containerPort": leaf.Draw(t, "port")}},
				"resources": map[string]any{"limits": map[string]any{"memory": leaf.Draw(t, "memory")}}, "tty": leaf.Draw(t, "tty"),
				"readinessProbe": map[string]any{"httpGet": map[string]any{"port": leaf.Draw(t, "probed")}},
			},
			"limit":       map[string]any{"requestsPerSecondPerReplica": leaf.Draw(t, "rate"), "burst": leaf.Draw(t, "burst")},
			"autoscaling": map[string]any{"window": leaf.Draw(t, "window"), "maxReplicas": leaf.Draw(t, "max")},
			"warmUp":      map[string]any{"requests": []any{map[string]any{"headers": leaf.Draw(t, "headers"), "bodyBytes": leaf.Draw(t, "body")}}},
			"traffic":     leaf.Draw(t, "traffic"),
		}
		text, err := json.Marshal(map[string]any{"spec": spec})
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.DisallowUnknownFields()
		refused := decoder.Decode(&v1alpha1.Model{})
		explained := Explain(text, &v1alpha1.Model{})
		if (refused == nil) != (explained == nil) {
			t.Fatalf("%s\nis refused: %v\nis explained: %v", text, refused, explained)
		}
		for _, e := range explained.WrappedErrors() {
			// What is wrong at several places alike is one error.
			if len(e.Paths) == 0 || slices.ContainsFunc(e.Paths, func(path string) bool { return !strings.HasPrefix(path, "spec.") }) {
				t.Errorf("%v names no field of the spec", e)
			}
		}
	})
}

// leaf is what may be written at any place.
var leaf = rapid.OneOf(
	rapid.Just[any](nil), rapid.Just[any](map[string]any{}), rapid.Just[any]([]any{}), rapid.Just[any]([]any{"x"}),
	rapid.Map(rapid.Bool(), func(b bool) any { return b }),
	rapid.Map(rapid.SampledFrom([]string{"", "x", "60", "60s", "1 minute", "64Mb", "64Mi", "40/s", "1/0", "1/3", "aGk=", "-1d", "5 x", "8080"}), func(s string) any { return s }),
	rapid.Map(rapid.SampledFrom([]float64{0, 1, -1, 2.5, 8080, 1e30}), func(f float64) any { return f }),
)

// Nothing that is said again is longer than a line.
func TestWhatIsSaidAgainIsBounded(t *testing.T) {
	long := strings.Repeat("6", 1e6)
	for _, written := range []string{
		`{"autoscaling": {"window": "` + long + `"}}`, `{"autoscaling": {"maxReplicas": "` + long + `"}}`,
		`{"container": {"image": ` + long + `}}`, `{"limit": {"requestsPerSecondPerReplica": "` + long + `/s"}}`,
		`{"container": {"resources": {"limits": {"memory": "` + long + `Mb"}}}}`,
	} {
		err := Explain([]byte(`{"spec": `+written+`}`), &v1alpha1.Model{})
		if err == nil || len(err.Error()) > 400 {
			t.Errorf("got %d bytes, want a line", len(err.Error()))
		}
	}
}

func TestWhatWasMeant(t *testing.T) {
	for path, want := range map[string]string{
		"spec.container.imaeg":                     "did you mean spec.container.image?",
		"spec.container.Image":                     "did you mean spec.container.image?",
		"spec.container.timeoutSeconds":            "did you mean spec.timeoutSeconds?",
		"spec.maxReplicas":                         "did you mean spec.autoscaling.maxReplicas?",
		"spec.container.env[3].valueFrom.fieldref": "did you mean spec.container.env[3].valueFrom.fieldRef?",
		"spec.warmUp.requests[0].pth":              "did you mean spec.warmUp.requests[0].path?",
		"spec.containers":                          "spec.container is the one that serves",
		"spec.limit.queue.colour":                  "there are wait",
		"spec.nothing.at.all":                      "",
		"specs":                                    "",
		"spec." + strings.Repeat("x", 1e6):         "",
	} {
		if got := Meant(&v1alpha1.Model{}, path); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("of %.60s it says %q, want %q", path, got, want)
		}
	}
	// Each kind has its own.
	for kind, want := range map[any]string{
		&v1alpha1.Model{}: "set spec.autoscaling.minReplicas", &v1alpha1.Batch{}: "set spec.workers", &v1alpha1.Tenant{}: "did you mean spec.gateway.replicas?",
	} {
		if got := Meant(kind, "spec.replicas"); !strings.HasPrefix(got, want) {
			t.Errorf("of spec.replicas of %T it says %q, want %q", kind, got, want)
		}
	}
}

// And of any number of mistakes some are told.
func TestSomeMistakesAreTold(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"name": 1},`, 1e5), ",")
	err := Explain([]byte(`{"spec": {"container": {"env": [`+many+`]}}}`), &v1alpha1.Model{})
	told := 0
	for _, e := range err.WrappedErrors() {
		told += len(e.Paths) // what is wrong alike is one error
	}
	if told != enough {
		t.Errorf("%d mistakes are told, want %d", told, enough)
	}
}

// With the defaults of any patch the object is the one that the patch makes, and all that
// the patch left alone is as it was written.
func TestKeep(t *testing.T) {
	const object = `{"metadata": {"name": "a"}, "spec": {"container": {"image": "x", "resources": {"limits": {"cpu": "0.5"}}},
		"limit": {"requestsPerSecondPerReplica": 33.5, "burst": "1000ms"}, "traffic": null, "warmUp": {"requests": [{"path": "/"}]}}}`
	const patch = `[{"op": "replace", "path": "/spec/limit/requestsPerSecondPerReplica", "value": "33500m"},
		{"op": "replace", "path": "/spec/limit/burst", "value": "1s"},
		{"op": "replace", "path": "/spec/container/resources/limits/cpu", "value": "500m"},
		{"op": "add", "path": "/spec/container/name", "value": ""},
		{"op": "add", "path": "/spec/autoscaling", "value": {"metric": "rps"}},
		{"op": "add", "path": "/spec/rollout", "value": {}},
		{"op": "add", "path": "/spec/warmUp/requests/0/method", "value": "GET"}]`
	kept, err := Keep([]byte(object), []byte(patch), &v1alpha1.Model{})
	if err != nil {
		t.Fatal(err)
	}
	var got []struct{ Op, Path string }
	if err := json.Unmarshal(kept, &got); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, change := range got {
		paths[change.Op+" "+change.Path] = true
	}
	if want := []string{"add /spec/autoscaling", "add /spec/warmUp/requests/0/method"}; len(got) != len(want) || !paths[want[0]] || !paths[want[1]] {
		t.Errorf("the patch is %s, want %q", kept, want)
	}
	const fraction = `{"spec": {"container": {"resources": {"limits": {"cpu": 0.5, "memory": 1024}}}}}`
	const rewritten = `[{"op": "replace", "path": "/spec/container", "value": {"name": "", "resources": {"limits": {"cpu": "500m", "memory": "1024"}}}}]`
	kept, err = Keep([]byte(fraction), []byte(rewritten), &v1alpha1.Model{})
	if want := `[{"op":"replace","path":"/spec/container/resources/limits/cpu","value":"500m"}]`; err != nil || string(kept) != want {
		t.Errorf("the patch is %s, %v, want %s", kept, err, want)
	}
	if _, err := Keep([]byte(`{`), []byte(patch), &v1alpha1.Model{}); err == nil {
		t.Error("no error of what is no JSON")
	}
	if _, err := Keep([]byte(object), []byte(`{`), &v1alpha1.Model{}); err == nil {
		t.Error("no error of what is no patch")
	}
}

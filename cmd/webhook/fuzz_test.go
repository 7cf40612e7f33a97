package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// Whatever is written over a right Model, the webhook answers; and of what it lets in comes a
// Knative Service that Knative lets in too.
func FuzzModel(f *testing.F) {
	whole := newWholeGate(f)
	for _, written := range seeds() {
		f.Add(written)
	}
	f.Fuzz(func(t *testing.T, written string) {
		if problem := whole.problem(t, written); problem != "" {
			t.Error(problem)
		}
	})
}

// The same of nonsense that has the shape of a Model: what is written in the rows of the
// table of mistakes, put together, with values from others in their place, taken away,
// doubled, or under other names. It is a test like any other, where `make fuzz` first has to
// compile all that is imported again, with counters for its coverage.
func TestNonsense(t *testing.T) {
	whole := newWholeGate(t)
	sown := make([]map[string]any, 0, len(mistakesInModels))
	var values []any
	var names []string
	for _, written := range seeds() {
		var seed map[string]any
		if err := yaml.Unmarshal([]byte(written), &seed); err != nil {
			t.Fatal(err)
		}
		sown = append(sown, seed)
		gather(seed, &names, &values)
	}
	letIn, n := 0, 0
	nonsense := func(rt *rapid.T) {
		g := generator{T: rt, names: names, values: append(values, strange...)}
		written := map[string]any{}
		for range rapid.IntRange(1, 3).Draw(rt, "seeds") {
			merge(written, rapid.SampledFrom(sown).Draw(rt, "seed"))
		}
		content, err := json.Marshal(g.spoil(written, 0))
		if err != nil {
			rt.Fatal(err)
		}
		n++
		problem := whole.problem(t, string(content))
		if problem != "" {
			rt.Fatalf("%s: %s", content, problem)
		}
		if whole.letIn {
			letIn++
		}
	}
	rounds := nonsenseRounds
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		rapid.Check(t, nonsense)
	}
	t.Logf("%d of %d were let in", letIn, n)
	if letIn == 0 || letIn == n {
		t.Errorf("%d of %d were let in: that tries nothing", letIn, n)
	}
}

// nonsenseRounds are as many times rapid's number of checks, which is a hundred unless a
// flag says otherwise: ten thousand in all, which take some eight seconds of a core.
const nonsenseRounds = 100

// seeds are what was thought of already.
func seeds() []string {
	all := []string{
		"metadata: {labels: {team: search}, annotations: {example.com/release: b}}",
		"spec: {containerConcurrency: 2, timeoutSeconds: 20, autoscaling: {minReplicas: 1, window: 60s}, warmUp: {requests: [{path: /}]}}",
		"spec: {containerConcurrency: 1, limit: {burst: 1s, queue: {wait: 60s}}, rollout: {stepPercent: 25, keepWarm: 5m, percent: 50}, splitBy: {header: X-User}}",
		"spec: {traffic: [{latestRevision: true, tag: next}, {revisionName: ranker-00007, percent: 30}]}",
	}
	for _, m := range mistakesInModels {
		all = append(all, m.written)
	}
	return all
}

// strange are values that nobody who wrote a row thought of.
var strange = []any{
	nil, "", " ", "0", "-1", "é", "\x00", "1e400", "9223372036854775808", strings.Repeat("a", 300), "{{.}}", "%s",
	true, false, 0.0, -1.0, 0.5, 1e18, []any{}, map[string]any{}, []any{nil}, map[string]any{"": nil},
}

// generator makes nonsense of what is written.
type generator struct {
	*rapid.T
	names  []string
	values []any
}

const deepest = 12

// spoil is a value with some of it changed.
func (g generator) spoil(value any, depth int) any {
	if depth > 0 && (depth > deepest || g.oneIn(12)) {
		return rapid.SampledFrom(g.values).Draw(g.T, "value")
	}
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			under := name
			if g.oneIn(20) {
				continue
			}
			if g.oneIn(20) {
				under = rapid.SampledFrom(g.names).Draw(g.T, "name")
			}
			out[under] = g.spoil(value[name], depth+1)
		}
		if g.oneIn(8) {
			out[rapid.SampledFrom(g.names).Draw(g.T, "name")] = rapid.SampledFrom(g.values).Draw(g.T, "value")
		}
		return out
	case []any:
		var out []any
		for _, item := range value {
			for range 1 + g.of(8) {
				out = append(out, g.spoil(item, depth+1))
			}
		}
		return out
	}
	return value
}

func (g generator) oneIn(n int) bool { return g.of(n) == 1 }

// of is 1 once in n times, else 0.
func (g generator) of(n int) int {
	if rapid.IntRange(1, n).Draw(g.T, "once in") == n {
		return 1
	}
	return 0
}

// gather adds the names and values that are in a value.
func gather(value any, names *[]string, values *[]any) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			*names, *values = append(*names, name), append(*values, value[name])
			gather(value[name], names, values)
		}
	case []any:
		for _, item := range value {
			*values = append(*values, item)
			gather(item, names, values)
		}
	}
}

// merge puts what is written over what was before, as a merge patch does.
func merge(into, written map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(written)) {
		before, had := into[name].(map[string]any)
		now, has := written[name].(map[string]any)
		switch {
		case has && had:
			merge(before, now)
		case has:
			copied := map[string]any{}
			merge(copied, now)
			into[name] = copied
		default:
			into[name] = written[name]
		}
	}
}

// wholeGate is all that a Model passes on its way to a revision: our webhook and Knative's.
type wholeGate struct {
	*gate
	knative context.Context
	// letIn tells whether the last was.
	letIn bool
}

func newWholeGate(t testing.TB) *wholeGate {
	t.Helper()
	gate := newGate(t, rightModel, "models")
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"multi-container-probing": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	defaults := servingconfig.FromContextOrDefaults(gate.ctx)
	return &wholeGate{gate: gate, knative: servingconfig.ToContext(gate.ctx, &servingconfig.Config{
		Defaults: defaults.Defaults, Features: features, Autoscaler: defaults.Autoscaler,
	})}
}

// problem is what is wrong with what becomes of something that is written; "" for nothing.
// What is no object, or none that kubectl would send, isn't looked at.
func (w *wholeGate) problem(t testing.TB, written string) string {
	t.Helper()
	w.letIn = false
	over, err := yaml.YAMLToJSON([]byte(written))
	if err != nil || !strings.HasPrefix(string(over), "{") || len(over) > 1<<16 {
		return ""
	}
	base, err := yaml.YAMLToJSON([]byte(rightModel))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jsonpatch.MergePatch(base, over); err != nil {
		return ""
	}
	if w.apply(t, written).refusal != "" {
		return ""
	}
	w.letIn = true
	stored, _ := w.defaulted(t, w.merged(t, written))
	var m v1alpha1.Model
	if err := json.Unmarshal([]byte(text(t, stored)), &m); err != nil {
		return fmt.Sprintf("what was let in can't be read: %v", err)
	}
	pins := resources.WarmUpPins{Image: "registry.example.com/warm-up:1", Bodies: "bodies"}
	service := resources.RebuildService(&m, nil, resources.PinWarmUp(&m, resources.EmptyService(&m), pins))
	service.SetDefaults(apis.WithinCreate(w.knative))
	if err := service.Validate(apis.WithinCreate(w.knative)).Filter(apis.ErrorLevel); err != nil {
		return fmt.Sprintf("Knative refuses what came of it: %v", err)
	}
	// A PodAutoscaler has a revision's annotations and, where they name none, the cluster's class.
	cluster := servingconfig.FromContextOrDefaults(w.knative).Autoscaler
	scaled := service.Spec.Template.Annotations
	scaled[autoscaling.ClassAnnotationKey] = v1alpha1.AutoscalerClass(scaled, cluster.PodAutoscalerClass)
	if err := autoscaling.ValidateAnnotations(w.knative, cluster, scaled); err != nil {
		return fmt.Sprintf("Knative refuses its PodAutoscaler: %v", err)
	}
	return ""
}

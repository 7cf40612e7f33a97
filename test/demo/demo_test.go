package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

func TestManifestIsTheModelWithTheImage(t *testing.T) {
	object, err := manifest("10.88.0.1:5000/ranker:1")
	if err != nil {
		t.Fatal(err)
	}
	var m v1alpha1.Model
	if err := yaml.UnmarshalStrict(object, &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != modelName || m.Spec.Container.Image != "10.88.0.1:5000/ranker:1" {
		t.Errorf("name %q, image %q", m.Name, m.Spec.Container.Image)
	}
	var fields map[string]any
	if err := json.Unmarshal(object, &fields); err != nil || fields["status"] != nil {
		t.Errorf("error %v, status %v: what is applied must not claim the status", err, fields["status"])
	}
	m.SetDefaults(t.Context())
	if err := m.Validate(t.Context()); err != nil {
		t.Errorf("the webhook would say: %v", err)
	}
}

// The schedule must bring about what its comment says, with the Model's figures.
func TestScheduleFitsTheModel(t *testing.T) {
	for _, o := range []options{{rounds: 1}, {rounds: 16}} {
		schedule, bounds := o.schedule(), o.bounds()
		if err := schedule.Validate(); err != nil {
			t.Fatal(err)
		}
		if n, d := schedule.Requests(), schedule.Duration(); n > bounds.Requests || d > bounds.Duration || bounds.Duration > time.Duration(40*o.rounds)*time.Second {
			t.Errorf("%d requests in %v, bounds %+v", n, d, bounds)
		}
	}
	var m v1alpha1.Model
	if err := yaml.Unmarshal(modelYAML, &m); err != nil {
		t.Fatal(err)
	}
	a := m.Spec.Autoscaling
	aim := float64(*a.Target) * float64(*a.TargetUtilization) / 100
	if middle := round[2].From / aim; middle <= 2 || middle > float64(*a.MaxReplicas-1) {
		t.Errorf("the middle rate wants %.1f replicas, want about 3 of %d", middle, *a.MaxReplicas)
	}
	if peak := round[4].From; peak <= float64(*a.MaxReplicas)*m.Spec.Limit.RequestsPerSecondPerReplica.AsApproximateFloat64() {
		t.Errorf("a peak of %v/s is all admitted by %d replicas", peak, *a.MaxReplicas)
	}
}

func TestRowsAreAlignedAndFit(t *testing.T) {
	s := sample{
		Second: load.Second{Index: 27, Offered: 240, Admitted: 160, Limited: 80, P50: 3100 * time.Microsecond, P99: 1412 * time.Millisecond},
		Moment: platform.Moment{
			Limit: 160, Rule: platform.Rule{PerReplica: 40, Policy: v1alpha1.PolicyDemand, Headroom: 1},
			Revisions: []platform.Replicas{{Percent: 100, Desired: 4, Ready: 3, Max: 4}},
		},
		followed: true,
	}
	want := "  28 s      240       160    80       0        4      3     160/s    3.1 ms   1412 ms  ✓"
	if got := s.row(); got != want {
		t.Errorf("row\n%s\nwant\n%s", got, want)
	}
	if at := utf8.RuneCountInString(want) - 1; strings.Index(header, "formula") != at {
		t.Errorf("the last column is at %d, its title at %d", at, strings.Index(header, "formula"))
	}
	s.followed, s.Revisions[0].Desired = false, 2
	if got := s.row(); !strings.HasSuffix(got, "✗ 160/s") || utf8.RuneCountInString(got) > 100 {
		t.Errorf("row of a mismatch %q", got)
	}
}

// after is a scale-up whose slowest request took so long.
func after(slowest time.Duration) comparison {
	return comparison{fresh: platform.Answers{
		{Replica: "a", Nth: 1, Answer: load.Answer{Latency: slowest}}, {Replica: "a", Nth: 2, Answer: load.Answer{Latency: time.Millisecond}},
	}}
}

// The compared Models differ in their warm-up alone, and the webhook takes both.
func TestPairDiffersInItsWarmUp(t *testing.T) {
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"multi-container-probing": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	config := servingconfig.FromContextOrDefaults(t.Context())
	config.Features = features
	ctx := servingconfig.ToContext(t.Context(), config)
	d := &demo{options: options{image: "10.88.0.1:5000/ranker:1", namespace: "demo"}, request: []byte("{}"), pair: newPair()}
	var specs []v1alpha1.ModelSpec
	for _, a := range d.pair {
		m, err := d.variant(a)
		if err != nil {
			t.Fatal(err)
		}
		m.SetDefaults(ctx)
		if err := m.Validate(ctx); err != nil {
			t.Errorf("%s: the webhook would say: %v", m.Name, err)
		}
		specs = append(specs, m.Spec)
	}
	if specs[0].WarmUp != nil || specs[1].WarmUp == nil {
		t.Errorf("warm-ups %v and %v, want none and one", specs[0].WarmUp, specs[1].WarmUp)
	}
	if specs[1].WarmUp = nil; !equality.Semantic.DeepEqual(specs[0], specs[1]) {
		t.Errorf("%+v\nand %+v differ in more than their warm-up", specs[0], specs[1])
	}
}

func TestVerdict(t *testing.T) {
	good := verdict{total: load.Second{Offered: 10, Admitted: 8, Limited: 2}, samples: 3, atZero: 80, most: 240, last: 80, saturated: 8, enforced: 0.99, warm: after(30 * time.Millisecond)}
	if p := good.problems(); len(p) != 0 {
		t.Errorf("problems %v, want none", p)
	}
	for text, spoil := range map[string]func(*verdict){
		"off by 1.0e-04":                    func(v *verdict) { v.difference = 1e-4 },
		"1 answers were neither":            func(v *verdict) { v.total.Failed = 1 },
		"2 requests got no answer: refused": func(v *verdict) { v.total.Errored, v.errors = 2, []string{"refused"} },
		"3 requests were never sent":        func(v *verdict) { v.total.Dropped = 3 },
		"no request was admitted":           func(v *verdict) { v.total.Admitted = 0 },
		"at 1 of 3 samples, seconds [2]":    func(v *verdict) { v.mismatches = []int{2} },
		"at 1 of 3 samples, seconds [3]":    func(v *verdict) { v.excesses = []int{3} },
		"75.0 % of the limit was admitted":  func(v *verdict) { v.enforced = 0.75 },
		"never rose: 80/s at most":          func(v *verdict) { v.most = 80 },
		"did not fall back: 160/s, not 80":  func(v *verdict) { v.last = 160 },
		"waited for 2000 ms":                func(v *verdict) { v.warm = after(2 * time.Second) },
		"the new replica served nothing":    func(v *verdict) { v.warm.fresh = nil },
		"with warm-up, 2 requests were not": func(v *verdict) { v.warm.total.Failed, v.warm.total.Errored = 1, 1 },
	} {
		v := good
		spoil(&v)
		if p := v.problems(); len(p) != 1 || !strings.Contains(p[0].Error(), text) {
			t.Errorf("problems %v, want one that says %q", p, text)
		}
	}
}

// Through a change of the limit, a second begins with a full bucket and gets another.
func TestMostThatMayPass(t *testing.T) {
	rule := platform.Rule{PerReplica: 40, Policy: v1alpha1.PolicyReady}
	at := func(limit float64, ready int32) platform.Moment {
		return platform.Moment{Limit: limit, Rule: rule, Revisions: []platform.Replicas{{Percent: 100, Desired: ready, Ready: ready}}}
	}
	for _, tt := range []struct {
		moments []platform.Moment
		want    float64
	}{
		{[]platform.Moment{at(40, 1)}, 40*1.1 + 4},
		{[]platform.Moment{at(40, 1), at(40, 2)}, 80*1.1 + 4},
		{[]platform.Moment{at(40, 1), at(40, 2), at(80, 2)}, 80*1.2 + 8},
	} {
		if got := most(tt.moments, time.Second, 2); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("most(%v) = %v, want %v", tt.moments, got, tt.want)
		}
	}
}

func TestFlags(t *testing.T) {
	if o, err := parse([]string{"-image", "x", "-kubeconfig", "k"}); err != nil || o.namespace != "demo" {
		t.Errorf("options %+v, error %v", o, err)
	}
	for text, arguments := range map[string][]string{
		"-image is required":  {"-kubeconfig", "k"},
		"unexpected argument": {"-image", "x", "-kubeconfig", "k", "more"},
		"-rounds is 0":        {"-image", "x", "-kubeconfig", "k", "-rounds", "0"},
	} {
		if _, err := parse(arguments); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want %q", err, text)
		}
	}
}

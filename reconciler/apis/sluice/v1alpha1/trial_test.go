package v1alpha1

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// trying is a Model that tries something for ten minutes.
func trying(changes ...func(*TrialSpec)) func(*Model) {
	return func(m *Model) {
		m.Spec.Trial = &TrialSpec{For: metav1.Duration{Duration: 10 * time.Minute}, Autoscaling: &AutoscalingSpec{Target: ptr(int32(5))}}
		for _, change := range changes {
			change(m.Spec.Trial)
		}
	}
}

func triedScaling(change func(*AutoscalingSpec)) func(*TrialSpec) {
	return func(t *TrialSpec) { t.Autoscaling = &AutoscalingSpec{}; change(t.Autoscaling) }
}

func triedLimit(change func(*LimitSpec)) func(*TrialSpec) {
	return func(t *TrialSpec) { t.Limit = &LimitSpec{}; change(t.Limit) }
}

func lasting(d time.Duration) func(*TrialSpec) {
	return func(t *TrialSpec) { t.For.Duration = d }
}

func bounding(u TrialUnless) func(*TrialSpec) { return func(t *TrialSpec) { t.Unless = &u } }

func latencyBound(d time.Duration) func(*TrialSpec) {
	return bounding(TrialUnless{Latency: &TrialLatency{Above: metav1.Duration{Duration: d}}})
}

func keeping(k TrialKeep) func(*TrialSpec) { return func(t *TrialSpec) { t.Keep = k } }

// running is the status of a Model's trial that began a minute ago, of ten.
func running(m *Model) { m.Status.Trial = BeginTrial(m.Spec.Trial, time.Unix(1_000_000, 0)) }

func TestTrialValidation(t *testing.T) {
	t.Parallel()
	const scalingPath, limitPath, unlessPath = "spec.trial.autoscaling.", "spec.trial.limit.", "spec.trial.unless"
	upTo := func(n int32) func(*AutoscalingSpec) { return func(a *AutoscalingSpec) { a.MaxReplicas = &n } }
	for _, c := range []struct {
		name   string
		change func(*Model)
		path   string // "" for accepted
		says   string
	}{
		{"a target", trying(), "", ""},
		{"ten seconds", trying(lasting(10 * time.Second)), "", ""},
		{"a day", trying(lasting(24 * time.Hour)), "", ""},
		{"a value that is the base's", both(scaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(5)) }), trying()), "", ""},
		{"a headroom alone", trying(triedLimit(func(l *LimitSpec) { l.HeadroomPercent = ptr(int32(50)) }), func(t *TrialSpec) { t.Autoscaling = nil }), "", ""},
		{"both bounds", trying(bounding(TrialUnless{ErrorPercent: ptr(int32(2)), Latency: &TrialLatency{Percentile: ptr(int32(95)), Above: *duration("250ms")}})), "", ""},
		{"a target in place of an annotation that is wrong together with it", both(annotated("target", "0.5"), trying()), "", ""},

		{"kept if it is better", trying(keeping(TrialKeepIfBetter), latencyBound(time.Second), lasting(time.Minute)), "", ""},
		{"kept by nobody's rule", trying(keeping("Always"), latencyBound(time.Second)), "spec.trial.keep", `must be IfBetter, is "Always"; leave it out`},
		{"kept without bounds", trying(keeping(TrialKeepIfBetter)), unlessPath + ".latency", "as in latency: {above: 250ms}, or leave keep out"},
		{"kept without a goal", trying(keeping(TrialKeepIfBetter), bounding(TrialUnless{ErrorPercent: ptr(int32(2))})), unlessPath + ".latency", "as in latency"},
		{"kept too soon", trying(keeping(TrialKeepIfBetter), latencyBound(time.Second), lasting(59*time.Second)), "spec.trial.for", "must be at least 1m0s, is 59s, as keep is IfBetter"},

		{"no time", trying(lasting(0)), "spec.trial.for", "as in 10m"},
		{"too short a time", trying(lasting(9 * time.Second)), "spec.trial.for", "from 10s to 24h0m0s"},
		{"too long a time", trying(lasting(24*time.Hour + 1)), "spec.trial.for", "from 10s to 24h0m0s"},
		{"a negative time", trying(lasting(-time.Minute)), "spec.trial.for", "from 10s"},
		{"nothing", trying(func(t *TrialSpec) { t.Autoscaling = nil }), "spec.trial", "as in autoscaling: {target: 5}"},
		{"empty parts", trying(triedScaling(func(*AutoscalingSpec) {}), triedLimit(func(*LimitSpec) {})), "spec.trial", "tries nothing"},
		{"initialReplicas", trying(triedScaling(func(a *AutoscalingSpec) { a.InitialReplicas = ptr(int32(2)) })), scalingPath + "initialReplicas", "leave it out"},
		{"scaleDownDelay", trying(triedScaling(func(a *AutoscalingSpec) { a.ScaleDownDelay = duration("1m") })), scalingPath + "scaleDownDelay", "leave it out"},
		{"a target of nothing", trying(triedScaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(0)) })), scalingPath + "target", "at least 1"},
		{"a window too short", trying(triedScaling(func(a *AutoscalingSpec) { a.Window = duration("1s") })), scalingPath + "window", "from 6s"},
		{"a headroom out of range", trying(triedLimit(func(l *LimitSpec) { l.HeadroomPercent = ptr(int32(-1)) })), limitPath + "headroomPercent", "from 0 to 1000"},
		{"a rate out of range", trying(triedLimit(func(l *LimitSpec) { l.RequestsPerSecondPerReplica = quantity("0") })), limitPath + "requestsPerSecondPerReplica", "must be from"},
		{"less at most than the Model has at least", both(scaling(func(a *AutoscalingSpec) { a.MinReplicas = ptr(int32(3)) }), trying(triedScaling(upTo(2)))),
			"spec.trial", "of spec.autoscaling.minReplicas, while the trial runs"},
		{"more at least than the Model has at most", both(scaling(upTo(2)), trying(triedScaling(func(a *AutoscalingSpec) { a.MinReplicas = ptr(int32(3)) }))),
			scalingPath + "minReplicas", "must not be above maxReplicas, which is 2"},
		{"a queue without what it needs", trying(triedLimit(func(l *LimitSpec) { l.Queue = &QueueSpec{Wait: *duration("10s")} })), "spec.trial", "of spec.containerConcurrency, while the trial runs"},
		{"a metric of another autoscaler", both(annotated("class", "hpa.autoscaling.knative.dev"), trying(triedScaling(func(a *AutoscalingSpec) { a.Metric = MetricRPS }))),
			scalingPath + "metric", "means nothing to the autoscaler's class hpa"},

		{"no bound", trying(bounding(TrialUnless{})), unlessPath, "leave it out"},
		{"no errors at all", trying(bounding(TrialUnless{ErrorPercent: ptr(int32(0))})), unlessPath + ".errorPercent", "from 1 to 100"},
		{"more errors than there are", trying(bounding(TrialUnless{ErrorPercent: ptr(int32(101))})), unlessPath + ".errorPercent", "from 1 to 100"},
		{"the slowest of all", trying(bounding(TrialUnless{Latency: &TrialLatency{Percentile: ptr(int32(100)), Above: *duration("1s")}})), unlessPath + ".latency.percentile", "from 1 to 99"},
		{"no latency", trying(bounding(TrialUnless{Latency: &TrialLatency{}})), unlessPath + ".latency.above", "as in 250ms"},
		{"a latency that nobody measures", trying(latencyBound(time.Microsecond)), unlessPath + ".latency.above", "at least 1ms"},
		{"a latency that no request has", trying(latencyBound(5 * time.Minute)), unlessPath + ".latency.above", "below timeoutSeconds, which is 5m0s"},
		{"a bound without a limit", both(trying(latencyBound(time.Second)), func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = nil }), unlessPath, "set spec.limit.requestsPerSecondPerReplica"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := errorsOf(context.Background(), c.change)
			if c.path == "" {
				if err != nil {
					t.Error("unexpected error:", err)
				}
				return
			}
			if !slices.ContainsFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.Contains(e.Paths, c.path) && strings.Contains(e.Error(), c.says)
			}) {
				t.Errorf("got %v\nwant an error at %s that says %q", err, c.path, c.says)
			}
		})
	}
}

// What is wrong with the Model itself isn't said a second time of its trial; what only the
// trial brings about is a warning there.
func TestTrialSaysWhatIsNew(t *testing.T) {
	t.Parallel()
	err := errorsOf(context.Background(), both(scaling(func(a *AutoscalingSpec) { a.Window = duration("1s") }), trying()))
	if len(err.WrappedErrors()) != 1 || strings.Contains(err.Error(), "trial") {
		t.Errorf("got %v, want the Model's own error alone", err)
	}
	warnings := warningsBySluice(validate(context.Background(), both(func(m *Model) { m.Spec.ContainerConcurrency = ptr(int64(2)) }, trying())).Filter(apis.WarningLevel))
	if !strings.Contains(warnings, "Knative goes by the latter: spec.trial.autoscaling.target") {
		t.Errorf("got %q, want a warning of the target that is tried", warnings)
	}
}

func TestTrialOfATrial(t *testing.T) {
	t.Parallel()
	another := trying(triedScaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(7)) }))
	over := func(m *Model) {
		m.Status.Trial = BeginTrial(m.Spec.Trial, time.Unix(1_000_000, 0)).Elapse(time.Unix(1_000_600, 0))
	}
	ofAnother := func(m *Model) { running(m); m.Status.Trial.Hash = "another" }
	for _, c := range []struct {
		name    string
		status  func(*Model)
		change  func(*Model)
		refused bool
	}{
		{"the same", running, func(*Model) {}, false},
		{"the same, and another base", running, scaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(9)) }), false},
		{"taken away", running, func(m *Model) { m.Spec.Trial = nil }, false},
		{"another", running, another, true},
		{"for longer", running, func(m *Model) { m.Spec.Trial.For.Duration *= 2 }, true},
		{"with another bound", running, func(m *Model) { m.Spec.Trial.Unless = &TrialUnless{ErrorPercent: ptr(int32(2))} }, true},
		{"another, after one that is over", over, another, false},
		{"another, before it has begun", func(*Model) {}, another, false},
		{"another, while the status is about one before", ofAnother, another, false},
	} {
		before := validModel()
		before.SetDefaults(context.Background())
		trying()(before)
		c.status(before)
		after := before.DeepCopy()
		c.change(after)
		err := after.Validate(apis.WithinUpdate(context.Background(), before)).Filter(apis.ErrorLevel)
		if refused := err != nil; refused != c.refused {
			t.Errorf("%s: %v, want refused: %t", c.name, err, c.refused)
		}
		if c.refused && !strings.Contains(err.Error(), "take spec.trial away first, which ends it, or wait until 1970-01-12T13:56:40Z: spec.trial") {
			t.Errorf("%s: %v names no remedy", c.name, err)
		}
	}
}

func TestInForce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Model)
		want   map[string]string // what differs of the annotations that are in force
		rate   string
	}{
		{"no trial", func(m *Model) { m.Spec.Trial = nil }, nil, "50"},
		{"one that runs", running, map[string]string{"target": "5"}, "50"},
		{"one that has not begun", func(*Model) {}, nil, "50"},
		{"one that is over", func(m *Model) { running(m); m.Status.Trial.Phase = TrialEnded }, nil, "50"},
		{"one that is kept", func(m *Model) { running(m); m.Status.Trial.Phase = TrialKept }, nil, "50"},
		{"another one runs", func(m *Model) { running(m); trying(lasting(time.Hour))(m) }, nil, "50"},
		{"an annotation of the same key", func(m *Model) { annotated("target", "9.5")(m); running(m) }, map[string]string{"target": "5"}, "50"},
		{"an annotation of another key", func(m *Model) { annotated("panic-window-percentage", "20")(m); running(m) },
			map[string]string{"target": "5", "panic-window-percentage": "20"}, "50"},
		{"an annotation in an older spelling", func(m *Model) {
			annotated("minScale", "3")(m)
			trying(triedScaling(func(a *AutoscalingSpec) { a.MinReplicas = ptr(int32(1)) }))(m)
			running(m)
		}, map[string]string{"min-scale": "1"}, "50"},
		{"zero is a value", func(m *Model) {
			m.Spec.Autoscaling.MinReplicas = ptr(int32(2))
			trying(triedScaling(func(a *AutoscalingSpec) { a.MinReplicas = ptr(int32(0)) }))(m)
			running(m)
		}, map[string]string{"min-scale": "0"}, "50"},
		{"a rate", func(m *Model) {
			trying(triedLimit(func(l *LimitSpec) { l.RequestsPerSecondPerReplica = quantity("70") }))(m)
			running(m)
		}, map[string]string{"target": "5"}, "70"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := validModel()
			m.SetDefaults(context.Background())
			trying()(m)
			c.change(m)
			before := m.DeepCopy()
			want := map[string]string{AutoscalingPrefix + "metric": "concurrency"}
			for key, value := range c.want {
				want[AutoscalingPrefix+key] = value
			}
			in := m.InForce()
			if got := in.AutoscalingAnnotations(); !maps.Equal(got, want) {
				t.Errorf("in force are %v, want %v", got, want)
			}
			if got := in.Spec.Limit; got.RequestsPerSecondPerReplica.String() != c.rate || *got.HeadroomPercent != 100 || got.Burst.Duration != DefaultBurst {
				t.Errorf("the limit in force is %+v, want a rate of %s and the rest as it was", got, c.rate)
			}
			in.Status.InitializeConditions()
			if in != m && !equality.Semantic.DeepEqual(m, before) {
				t.Error("the Model itself is changed")
			}
		})
	}
}

// Whatever is tried, it is what the Model itself says once that is in its base, and then the
// trial is held; and nothing of the Model but what can be tried is ever another.
func TestTriedIsTheBaseToCome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := validModel()
		m.SetDefaults(context.Background())
		m.Spec.Autoscaling = drawScaling(t, "base")
		m.Annotations = map[string]string{"team": "search"}
		if rapid.Bool().Draw(t, "annotated") {
			m.Annotations[AutoscalingPrefix+"target"] = rapid.SampledFrom([]string{"5", "5.0", "7"}).Draw(t, "target")
		}
		tried := drawScaling(t, "tried")
		m.Spec.Trial = &TrialSpec{For: *duration("1m"), Autoscaling: &tried}
		if rapid.Bool().Draw(t, "a limit too") {
			m.Spec.Trial.Limit = &LimitSpec{HeadroomPercent: ptr(rapid.Int32Range(99, 101).Draw(t, "headroom"))}
		}
		in := m.Tried()
		kept := in.DeepCopy()
		if !kept.HoldsTried() {
			t.Fatalf("what is tried is in the base, and not held: %v, %v", in.AutoscalingAnnotations(), kept.Tried().AutoscalingAnnotations())
		}
		same := maps.EqualFunc(in.AutoscalingAnnotations(), m.AutoscalingAnnotations(), sameSetting) && *in.Spec.Limit.HeadroomPercent == *m.Spec.Limit.HeadroomPercent
		if m.HoldsTried() != same {
			t.Fatalf("held: %t, and the same: %t", m.HoldsTried(), same)
		}
		if got := patched(t, m); !got.HoldsTried() || !equality.Semantic.DeepEqual(got.Spec.Autoscaling, in.Spec.Autoscaling) ||
			!equality.Semantic.DeepEqual(got.Spec.Limit, in.Spec.Limit) || !maps.Equal(got.Annotations, union(in.Annotations, "why")) || !equality.Semantic.DeepEqual(got.Spec.Trial, m.Spec.Trial) {
			t.Fatalf("written to the Model it is %+v, want %+v", got, in)
		}
		rest := in.DeepCopy()
		rest.Spec.Autoscaling, rest.Spec.Limit, rest.Annotations = m.Spec.Autoscaling, m.Spec.Limit, m.Annotations
		if !equality.Semantic.DeepEqual(rest, m) || in.Annotations["team"] != "search" {
			t.Fatalf("more is another than what can be tried: %+v", in)
		}
	})
}

// patched is the Model once what it tries is written to it.
func patched(t *rapid.T, m *Model) *Model {
	text, err := json.Marshal(m)
	if err == nil {
		var patch []byte
		if patch, err = json.Marshal(m.KeepPatch("why")); err == nil {
			text, err = jsonpatch.MergePatch(text, patch)
		}
	}
	out := &Model{}
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// union is what annotations are with a cause.
func union(annotations map[string]string, why string) map[string]string {
	out := maps.Clone(annotations)
	out[sluice.ChangeCauseAnnotationKey] = why
	return out
}

func drawScaling(t *rapid.T, of string) AutoscalingSpec {
	var a AutoscalingSpec
	if rapid.Bool().Draw(t, of+" has a target") {
		a.Target = ptr(rapid.Int32Range(5, 7).Draw(t, of+" target"))
	}
	if rapid.Bool().Draw(t, of+" has a least") {
		a.MinReplicas = ptr(rapid.Int32Range(0, 2).Draw(t, of+" least"))
	}
	if rapid.Bool().Draw(t, of+" has a window") {
		a.Window = &metav1.Duration{Duration: time.Duration(rapid.IntRange(59, 61).Draw(t, of+" window")) * time.Second}
	}
	if rapid.Bool().Draw(t, of+" has a metric") {
		a.Metric = rapid.SampledFrom([]AutoscalingMetric{MetricConcurrency, MetricRPS}).Draw(t, of+" metric")
	}
	return a
}

func TestSameSetting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"5", "5.0", true}, {"60s", "1m0s", true}, {"5", "6", false}, {"60s", "61s", false}, {"rps", "rps", true}, {"rps", "concurrency", false}, {"0", "0s", true}, {"60s", "60", false},
	} {
		if got := sameSetting(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %t, want %t", c.a, c.b, got, c.want)
		}
	}
}

// A trial is known by what it says, however that is written.
func TestTrialHash(t *testing.T) {
	t.Parallel()
	hash := func(changes ...func(*TrialSpec)) string {
		m := validModel()
		trying(changes...)(m)
		return m.Spec.Trial.Hash()
	}
	seconds := latencyBound(time.Second)
	if a, b := hash(seconds), hash(seconds, func(t *TrialSpec) { t.setDefaults() }); a != b {
		t.Errorf("%s without its defaults, %s with them", a, b)
	}
	written := triedLimit(func(l *LimitSpec) { l.RequestsPerSecondPerReplica = quantity("0.5") })
	otherwise := triedLimit(func(l *LimitSpec) { l.RequestsPerSecondPerReplica = quantity("500m") })
	if a, b := hash(written), hash(otherwise); a != b {
		t.Errorf("%s of 0.5, %s of 500m", a, b)
	}
	seen := map[string]string{}
	for name, changes := range map[string][]func(*TrialSpec){
		"as it is": nil, "for longer": {lasting(time.Hour)}, "with a limit": {written}, "with a bound": {seconds},
		"kept": {seconds, keeping(TrialKeepIfBetter)}, "with another bound": {latencyBound(2 * time.Second)}, "of another target": {triedScaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(6)) })},
	} {
		h := hash(changes...)
		if other, there := seen[h]; there {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[h] = name
	}
	// What has begun must not begin again after an upgrade.
	if got, want := hash(), "2b7bfc3f377426d9"; got != want {
		t.Errorf("the hash is %s, was %s", got, want)
	}
}

// A trial claims of its tenant's caps until it is over, and the Model's own all the while.
func TestTrialClaims(t *testing.T) {
	t.Parallel()
	upTo := func(n int32) func(*TrialSpec) { return triedScaling(func(a *AutoscalingSpec) { a.MaxReplicas = &n }) }
	over := func(phase TrialPhase) func(*Model) {
		return func(m *Model) { running(m); m.Status.Trial.Phase = phase }
	}
	for _, c := range []struct {
		name   string
		tries  int32
		status func(*Model)
		want   int64
	}{
		{"more, to begin", 6, func(*Model) {}, 6}, {"more, running", 6, running, 6}, {"more, over", 6, over(TrialEnded), 4}, {"more, kept once", 6, over(TrialKept), 4},
		{"fewer, running", 2, running, 4}, {"no bound, running", 0, running, UnboundedReplicas},
	} {
		m := validModel()
		m.Spec.Autoscaling.MaxReplicas = ptr(int32(4))
		trying(upTo(c.tries))(m)
		c.status(m)
		if got := m.ClaimedReplicas(); got != c.want {
			t.Errorf("%s: claims %d, want %d", c.name, got, c.want)
		}
	}
	acme := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: TenantSpec{Limits: TenantLimits{MaxReplicas: ptr(int32(9))}}}
	other := validModel()
	other.Name, other.Spec.Autoscaling.MaxReplicas = "other", ptr(int32(2))
	trying(upTo(4))(other)
	ctx := WithNeighbours(apis.WithinCreate(context.Background()), func(string) (*Tenant, []*Model, error) { return acme, []*Model{other}, nil })
	for tries, refused := range map[int32]bool{5: false, 6: true} {
		err := errorsOf(ctx, both(scaling(func(a *AutoscalingSpec) { a.MaxReplicas = ptr(int32(4)) }), trying(upTo(tries))))
		if (err != nil) != refused {
			t.Errorf("trying %d: %v, want refused: %t", tries, err, refused)
		}
		if says := fmt.Sprintf("must be from 1 to 5, is %d", tries); refused && (!strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "spec.trial.autoscaling.maxReplicas")) {
			t.Errorf("got %v, want an error of what is tried that says %q", err, says)
		}
	}
}

func TestBoundsOfATrial(t *testing.T) {
	t.Parallel()
	m := validModel()
	trying(bounding(TrialUnless{ErrorPercent: ptr(int32(2)), Latency: &TrialLatency{Above: *duration("250ms")}}))(m)
	if got := m.BoundsOf(m.Status.Trial); got != nil {
		t.Errorf("not begun, it is watched by %+v", got)
	}
	running(m)
	want := &RateLimitBounds{Since: *m.Status.Trial.StartTime, ErrorPercent: ptr(int32(2)), Latency: &LatencyBound{Percentile: 99, Above: *duration("250ms")}}
	if got := m.BoundsOf(m.Status.Trial); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("it is watched by %+v, want %+v", got, want)
	}
	breach := &RateLimitStatus{Breach: &RateLimitBreach{Since: want.Since}}
	if breach.BreachOf(m.Status.Trial.StartTime) == nil || breach.BreachOf(microTime(time.Unix(1, 0))) != nil || breach.BreachOf(nil) != nil {
		t.Error("a breach is taken for another trial's, or isn't for its own")
	}
	if got := m.BoundsOf(m.Status.Trial.Keep(time.Unix(1_000_060, 0))); got != nil {
		t.Errorf("over, it is watched by %+v", got)
	}
}

// What is written to a Model is written to that very version of it, and as people write it.
func TestKeepPatch(t *testing.T) {
	t.Parallel()
	m := validModel()
	m.ResourceVersion = "7"
	m.Annotations = map[string]string{AutoscalingPrefix + "target": "0.5", AutoscalingPrefix + "window": "30s", "team": "search"}
	trying(triedLimit(func(l *LimitSpec) { l.RequestsPerSecondPerReplica = quantity("33500m") }))(m)
	got, err := json.Marshal(m.KeepPatch("why"))
	want := `{"metadata":{"annotations":{"autoscaling.knative.dev/target":null,"kubernetes.io/change-cause":"why"},"resourceVersion":"7"},` +
		`"spec":{"autoscaling":{"target":5},"limit":{"requestsPerSecondPerReplica":"33.5"}}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

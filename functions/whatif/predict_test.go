package whatif

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// ranker is a Model whose replicas serve 50 requests a second.
func ranker(change func(*v1alpha1.ModelSpec)) *v1alpha1.Model {
	rate := resource.MustParse("50")
	m := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker"},
		Spec:       v1alpha1.ModelSpec{Container: corev1.Container{Image: "ranker"}, Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate}},
	}
	m.Spec.Autoscaling.Target = to(int32(5))
	m.Spec.Autoscaling.Window = &metav1.Duration{Duration: 30 * time.Second}
	if change != nil {
		change(&m.Spec)
	}
	return m
}

func to[T any](v T) *T { return &v }

var measured = Measured{Latency: 100 * time.Millisecond, ColdStarts: []time.Duration{2 * time.Second, 3 * time.Second, 5 * time.Second}}

// demandOf is so many seconds of a rate that goes by the time in seconds.
func demandOf(seconds int, rate func(at float64) float64) trace.Trace {
	out := trace.Trace{Start: time.Unix(1_700_000_000, 0), Seconds: make([]float32, seconds)}
	for i := range out.Seconds {
		out.Seconds[i] = float32(math.Round(rate(float64(i))))
	}
	return out
}

// day is a day's demand: low by night, two peaks, and a burst each hour.
func day(seconds int) trace.Trace {
	return demandOf(seconds, func(at float64) float64 {
		hour := at / 3600 * 86400 / float64(seconds)
		rate := 150 - 140*math.Cos(2*math.Pi*hour/24) + 40*math.Sin(2*math.Pi*hour/6)
		if int(at)%(seconds/24) < 20 {
			rate += 120
		}
		return math.Max(0, rate)
	})
}

func predict(t interface{ Fatal(...any) }, q Question, changed *v1alpha1.Model) *Answer {
	a, err := Predict(context.Background(), q, changed)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A question has one answer, and none of its figures is out of order.
func TestPredict(t *testing.T) {
	q := Question{Demand: day(1800), Model: ranker(nil), Measured: measured, Goal: Goal{Within: 300 * time.Millisecond}}
	other := ranker(func(s *v1alpha1.ModelSpec) { s.Autoscaling.MinReplicas = to(int32(8)) })
	a := predict(t, q, other)
	if b := predict(t, q, other); !reflect.DeepEqual(a, b) {
		t.Errorf("asked again: %+v, before %+v", b, a)
	}
	offered := q.Demand.Requests()
	for name, f := range map[string]Figures{"in force": a.Model, "changed": *a.Changed} {
		v := reflect.ValueOf(f)
		for i := range v.NumField() {
			if n := v.Field(i).Interface().(Interval); !(n.Low <= n.Median && n.Median <= n.High && n.Low >= 0) {
				t.Errorf("%s: %s is %+v", name, v.Type().Field(i).Name, n)
			}
		}
		if n := f.Offered; n.High-n.Low > 1e-6 || math.Abs(n.Median-offered) > 1 {
			t.Errorf("%s: %+v were offered, of %g", name, n, offered)
		}
		if f.ReplicaSeconds.Low == f.ReplicaSeconds.High {
			t.Errorf("%s: chance plays no part: %+v", name, f.ReplicaSeconds)
		}
	}
	if d := a.Difference; d.SecondsOver.High >= 0 || d.PeakReplicas.High >= 0 {
		t.Errorf("8 replicas that are kept make a difference of %+v", *d)
	}
	if a.Seconds != 1800 || a.MissingShare != 0 || a.Runs != DefaultRuns || len(a.Assumed) != 1 {
		t.Errorf("%d seconds, %g missing, %d runs, assumed %q", a.Seconds, a.MissingShare, a.Runs, a.Assumed)
	}
}

// The same Model makes no difference, whatever the chance.
func TestNoChangeIsNoDifference(t *testing.T) {
	q := Question{Demand: day(600), Model: ranker(nil), Measured: measured, Goal: Goal{Within: 200 * time.Millisecond}, Runs: 5}
	if d := predict(t, q, ranker(nil)).Difference; *d != (Figures{}) {
		t.Errorf("the difference is %+v", *d)
	}
}

// What the Model is tuned to meanwhile is in force from then on and not before; what is there
// from the beginning is as if it had always been; and another Model stays as it is.
func TestChanges(t *testing.T) {
	bound := func(most int32, headroom int32) *v1alpha1.Model {
		return ranker(func(s *v1alpha1.ModelSpec) {
			s.Autoscaling.MaxReplicas, s.Limit.HeadroomPercent = to(most), to(headroom)
		})
	}
	q := Question{Demand: demandOf(120, func(float64) float64 { return 200 }), Model: bound(2, 100), Measured: measured, Runs: 3, Ready: to(int32(2))}
	half := q
	half.Changes = []Change{{After: time.Minute, Model: bound(5, 100)}}
	before, after := predict(t, q, nil).Model, predict(t, half, bound(2, 100))
	if all := before.Refused.Median; math.Abs(after.Model.Refused.Median-all/2) > .06*all {
		t.Errorf("%g are refused with more replicas after half of the time, %g without", after.Model.Refused.Median, all)
	}
	if after.Model.PeakReplicas.High != 5 || before.PeakReplicas.High != 2 {
		t.Errorf("%g replicas at most, and %g without the change", after.Model.PeakReplicas.High, before.PeakReplicas.High)
	}
	if !reflect.DeepEqual(*after.Changed, before) {
		t.Errorf("another Model came to %+v, want %+v", *after.Changed, before)
	}
	always := q
	always.Model = bound(5, 100)
	from := q
	from.Changes = []Change{{Model: bound(5, 100)}}
	if got, want := predict(t, from, nil).Model, predict(t, always, nil).Model; !reflect.DeepEqual(got, want) {
		t.Errorf("tuned at once: %+v, want %+v", got, want)
	}
	// A gap has no part in it: of what is missing nothing is known.
	gap := half
	gap.Demand.Seconds = append(append(append([]float32{}, q.Demand.Seconds[:60]...), make([]float32, 90)...), q.Demand.Seconds[60:]...)
	for i := 60; i < 150; i++ {
		gap.Demand.Seconds[i] = trace.Missing
	}
	gap.Changes = []Change{{After: 100 * time.Second, Model: bound(5, 100)}}
	if got, want := predict(t, gap, nil).Model.Refused.Median, after.Model.Refused.Median; math.Abs(got-want) > .02*want {
		t.Errorf("%g are refused where the change comes in a gap, %g without one", got, want)
	}
}

// Courses whose quiet seconds are taken at once come to the same as those step by step:
// replica-seconds within 1 %, what is refused within 0.2 % of the demand, and seconds over
// the goal within 1 % of them all.
func TestCoursesAtOnceAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		high, period := rapid.Float64Range(1, 300).Draw(t, "high"), rapid.Float64Range(30, 200).Draw(t, "period")
		from := rapid.Float64Range(-.9, .9).Draw(t, "none below")
		q := Question{
			Model: ranker(func(s *v1alpha1.ModelSpec) {
				s.Autoscaling.Target = to(rapid.Int32Range(2, 9).Draw(t, "target"))
				s.Autoscaling.TargetBurstCapacity = to(rapid.SampledFrom([]int32{-1, 0, 211}).Draw(t, "burst"))
				s.ContainerConcurrency = to(rapid.SampledFrom([]int64{0, 10}).Draw(t, "concurrency"))
			}),
			Demand: demandOf(200, func(at float64) float64 {
				if part := math.Sin(2 * math.Pi * at / period); part > from {
					return high * (part - from)
				}
				return 0
			}),
			Measured: measured, Goal: Goal{Within: 300 * time.Millisecond}, Runs: 3,
		}
		s, _, err := q.setupOf(q.Model)
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := s.once(context.Background(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.fine = true
		b, _, err := s.once(context.Background(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		near := func(what string, x, y, most float64) {
			if math.Abs(x-y) > most {
				t.Fatalf("%s: %g at once, %g step by step", what, x, y)
			}
		}
		near("replica-seconds", a.replicaSeconds, b.replicaSeconds, .01*b.replicaSeconds)
		near("refused", a.refused, b.refused, .002*b.offered)
		near("seconds over", a.over, b.over, .01*b.busy+1)
		near("offered", a.offered, b.offered, 1e-6)
		near("cold starts", a.coldStarts, b.coldStarts, 0)
	})
}

// What is missing has no part in any figure: a recording with a gap is its two halves, and
// each begins as if it had long been so.
func TestGaps(t *testing.T) {
	half := func(rate float64) []float32 { return demandOf(300, func(float64) float64 { return rate }).Seconds }
	missing := make([]float32, 600)
	for i := range missing {
		missing[i] = trace.Missing
	}
	question := func(parts ...[]float32) Question {
		q := Question{Model: ranker(nil), Measured: measured, Goal: Goal{Within: 300 * time.Millisecond}}
		for _, p := range parts {
			q.Demand.Seconds = append(q.Demand.Seconds, p...)
		}
		return q
	}
	whole := predict(t, question(half(40), missing, half(200)), nil)
	first, second := predict(t, question(half(40)), nil), predict(t, question(half(200)), nil)
	if want := first.Model.ReplicaSeconds.Median + second.Model.ReplicaSeconds.Median; math.Abs(whole.Model.ReplicaSeconds.Median-want) > .03*want {
		t.Errorf("%g replica-seconds, of halves %g", whole.Model.ReplicaSeconds.Median, want)
	}
	if whole.Seconds != 600 || whole.MissingShare != .5 || whole.Model.Offered.Median != 300*240 {
		t.Errorf("%d seconds, %g missing, %+v offered", whole.Seconds, whole.MissingShare, whole.Model.Offered)
	}
	// Over a short gap replicas stay as they are: nothing is started anew.
	short := question(half(200), missing[:30], half(200))
	if got := predict(t, short, nil); math.Abs(got.Model.Started.Median-second.Model.Started.Median) > 2 {
		t.Errorf("%g replicas were started, %g without the gap", got.Model.Started.Median, second.Model.Started.Median)
	}
}

// From none, the first request waits for a cold start, and that is told.
func TestColdStarts(t *testing.T) {
	q := Question{
		Model: ranker(func(s *v1alpha1.ModelSpec) { s.Autoscaling.Window = &metav1.Duration{Duration: 6 * time.Second} }),
		Demand: demandOf(600, func(at float64) float64 {
			if int(at)%200 >= 100 && int(at)%200 < 110 {
				return 5
			}
			return 0
		}),
		Measured: Measured{Latency: 100 * time.Millisecond, ColdStarts: []time.Duration{3 * time.Second}, WarmUp: time.Second},
		Goal:     Goal{Within: 500 * time.Millisecond}, Ready: to(int32(0)),
	}
	a := predict(t, q, ranker(func(s *v1alpha1.ModelSpec) { s.Autoscaling.MinReplicas = to(int32(1)) }))
	if c := a.Model.ColdStarts; c.Low != 3 || c.High != 3 {
		t.Errorf("%+v cold starts, want 3", c)
	}
	// Those wait that come within 4 s less the goal.
	if over := a.Model.SecondsOver; over.Low < 9 || over.High > 15 {
		t.Errorf("%+v seconds over the goal, want about 4 of each", over)
	}
	if c := a.Changed; c.ColdStarts.High > 1 || c.SecondsOver.High > 5 || c.ReplicaSeconds.Median < 595 {
		t.Errorf("with one that is kept: %+v", *c)
	}
}

// What is asked wrongly is told by the field, with a remedy.
func TestPredictErrors(t *testing.T) {
	for says, change := range map[string]func(*Question){
		"the recording is empty":                              func(q *Question) { q.Demand.Seconds = nil },
		"model is missing":                                    func(q *Question) { q.Model = nil },
		"spec.limit.requestsPerSecondPerReplica is missing":   func(q *Question) { q.Model.Spec.Limit.RequestsPerSecondPerReplica = nil },
		"spec.limit.requestsPerSecondPerReplica is -1: give":  func(q *Question) { q.Model.Spec.Limit.RequestsPerSecondPerReplica = to(resource.MustParse("-1")) },
		"measured.latency is -1s: give 0s to":                 func(q *Question) { q.Measured.Latency = -time.Second },
		"measured.tailLatency is 50ms, below":                 func(q *Question) { q.Measured.TailLatency = 50 * time.Millisecond },
		"measured.parallel is NaN":                            func(q *Question) { q.Measured.Parallel = math.NaN() },
		"measured.coldStarts[1] is 2h0m0s: give":              func(q *Question) { q.Measured.ColdStarts = []time.Duration{1, 2 * time.Hour} },
		"measured.coldStarts has 10001":                       func(q *Question) { q.Measured.ColdStarts = make([]time.Duration, 10001) },
		"goal.percentile is 100: give":                        func(q *Question) { q.Goal.Percentile = 100 },
		"goal.within is -1s":                                  func(q *Question) { q.Goal.Within = -time.Second },
		"goal.within is 50ms, below the 100ms that a request": func(q *Question) { q.Goal.Within = 50 * time.Millisecond },
		"runs is 102: give 1 to 101":                          func(q *Question) { q.Runs = 102 },
		"ready is -1: give 0 to":                              func(q *Question) { q.Ready = to(int32(-1)) },
		"changes[0].model is missing":                         func(q *Question) { q.Changes = []Change{{}} },
		"changes[0].after is 240ms: give whole seconds from 0s on": func(q *Question) {
			q.Changes = []Change{{After: 240 * time.Millisecond, Model: ranker(nil)}}
		},
		"changes[1].after is 1s: give whole seconds from 2s on, before the demand ends after 4m0s": func(q *Question) {
			q.Changes = []Change{{After: 2 * time.Second, Model: ranker(nil)}, {After: time.Second, Model: ranker(nil)}}
		},
		"changes[0].model: spec.limit.headroomPercent is -1": func(q *Question) {
			q.Changes = []Change{{Model: ranker(func(s *v1alpha1.ModelSpec) { s.Limit.HeadroomPercent = to(int32(-1)) })}}
		},
		"class] is hpa.autoscaling.knative.dev: only Knative's own": func(q *Question) {
			q.Model.Annotations = map[string]string{v1alpha1.AutoscalingPrefix + "class": "hpa.autoscaling.knative.dev"}
		},
		"window: correct it in spec.autoscaling": func(q *Question) { q.Model.Spec.Autoscaling.Window = &metav1.Duration{} },
		"min-scale":                              func(q *Question) { q.Model.Spec.Autoscaling.MinReplicas = to(int32(-1)) },
		"spec.limit.headroomPercent is -1: give": func(q *Question) { q.Model.Spec.Limit.HeadroomPercent = to(int32(-1)) },
		"spec.limit.burst is -1s: give":          func(q *Question) { q.Model.Spec.Limit.Burst = &metav1.Duration{Duration: -time.Second} },
		"spec.containerConcurrency is -1: give":  func(q *Question) { q.Model.Spec.ContainerConcurrency = to(int64(-1)) },
	} {
		q := Question{Demand: day(240), Model: ranker(nil), Measured: measured, Goal: Goal{Within: time.Second}}
		change(&q)
		if a, err := Predict(context.Background(), q, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, %v, want %q", a, err, says)
		}
	}
	q := Question{Demand: day(240), Model: ranker(nil), Measured: measured}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Predict(ctx, q, nil); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("whoever asked has gone: %v", err)
	}
	changed := ranker(func(s *v1alpha1.ModelSpec) { s.Limit.RequestsPerSecondPerReplica = nil })
	if _, err := Predict(context.Background(), q, changed); err == nil || !strings.HasPrefix(err.Error(), "the changed Model: spec.limit") {
		t.Errorf("a changed Model without a rate: %v", err)
	}
}

// As many come in a second as there were, spread over it evenly on the whole.
func TestArrivals(t *testing.T) {
	for _, rate := range []float64{.3, 5, 63.5, 65, 1000} {
		a := arrivals{chance: rand.New(rand.NewPCG(1, 2))}
		var in, steps replay.Steps
		sum := 0.
		const seconds = 2000
		for range seconds {
			a.of(rate, &in)
			for i, n := range in {
				if n < 0 || n != math.Trunc(n) {
					t.Fatalf("%g requests in a step", n)
				}
				steps[i] += n
				sum += n
			}
		}
		if math.Abs(sum-rate*seconds) > 1 {
			t.Errorf("%g a second: %g came in %d", rate, sum, seconds)
		}
		for i, n := range steps {
			if want := rate * seconds / 20; math.Abs(n-want) > 6*math.Sqrt(want) {
				t.Errorf("%g a second: %g came in all of step %d, want about %g", rate, n, i, want)
			}
		}
	}
}

// BenchmarkDay is 24 hours of a Model and a changed one, with as many runs as it comes.
func BenchmarkDay(b *testing.B) {
	q := Question{Demand: day(86400), Model: ranker(nil), Measured: measured, Goal: Goal{Within: 300 * time.Millisecond}}
	other := ranker(func(s *v1alpha1.ModelSpec) { s.Autoscaling.Target = to(int32(3)) })
	for b.Loop() {
		predict(b, q, other)
	}
}

package main

import (
	"math"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func after(s float64) time.Time { return start.Add(seconds(s)) }

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		ok        bool
		longest   time.Duration
	}{
		{[]string{"-streams", "s", "-kubeconfig", "k"}, true, 15 * time.Minute},
		{[]string{"-streams", "s", "-kubeconfig", "k", "-traces", "20", "-lasts", "5m"}, true, 115 * time.Minute},
		{[]string{"-streams", "s", "-kubeconfig", "k", "-traces", "0"}, false, 0},
		{[]string{"-streams", "s", "-kubeconfig", "k", "-lasts", "90500ms"}, false, 0},
		{[]string{"-streams", "s", "-kubeconfig", "k", "-lasts", "1h"}, false, 0},
		{[]string{"-kubeconfig", "k"}, false, 0},
	} {
		o, err := parse(c.arguments)
		if (err == nil) != c.ok || c.ok && o.longest() != c.longest {
			t.Errorf("%q: %v, at most %s", c.arguments, err, o.longest())
		}
	}
}

// A trace is the same each time, begins as it says, and has as many requests as its shape.
func TestDemand(t *testing.T) {
	for _, k := range kinds {
		for _, lasts := range []time.Duration{time.Minute, 5 * time.Minute} {
			sum, want := 0., 0.
			const seeds = 50
			for seed := range uint64(seeds) {
				got := demand(k.shape, lasts, seed)
				if !reflect.DeepEqual(got, demand(k.shape, lasts, seed)) {
					t.Errorf("%s: two traces of one seed differ", k.name)
				}
				if err := got.Check(); err != nil || len(got.Seconds) != int(lasts.Seconds()) {
					t.Errorf("%s: %d seconds, %v", k.name, len(got.Seconds), err)
				}
				if first := begins(got); math.Abs(first-k.shape(0)) > .1 {
					t.Errorf("%s begins with %g/s, want %g", k.name, first, k.shape(0))
				}
				sum += got.Requests() / seeds
			}
			for i := range int(lasts.Seconds()) {
				want += k.shape(float64(i) * 60 / lasts.Seconds())
			}
			if math.Abs(sum-want) > .03*want {
				t.Errorf("%s of %s has %g requests, want %g", k.name, lasts, sum, want)
			}
		}
	}
	if reflect.DeepEqual(demand(even, time.Minute, 1), demand(even, time.Minute, 2)) {
		t.Error("two seeds have one trace")
	}
	if got := demand(fromZero, time.Minute, 1); begins(got) != 0 || got.Seconds[settled] == 0 {
		t.Errorf("from zero: %v", got.Seconds[:settled+1])
	}
}

// What comes by chance has a Poisson distribution's mean and variance.
func TestDrawn(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	for _, mean := range []float64{0, .5, 3.5, 30} {
		const n = 20000
		sum, squares := 0., 0.
		for range n {
			v := drawn(chance, mean)
			sum += v / n
			squares += v * v / n
		}
		if variance := squares - sum*sum; math.Abs(sum-mean) > .02*mean+1e-9 || math.Abs(variance-mean) > .05*mean+1e-9 {
			t.Errorf("of %g: mean %g, variance %g", mean, sum, variance)
		}
	}
}

// Each second of a trace has its requests due in it, after the lead.
func TestScheduled(t *testing.T) {
	of := trace.Trace{Seconds: slices.Concat(slices.Repeat([]float32{3, 4}, settled/2), []float32{0, 7, 1, 30, 0})}
	schedule := scheduled(of, 4*time.Second, 1)
	if err := schedule.Validate(); err != nil || schedule.Duration() != 19*time.Second {
		t.Fatalf("it lasts %s, %v", schedule.Duration(), err)
	}
	got := make([]float32, 19)
	for due := range schedule.Arrivals() {
		got[due/time.Second]++
	}
	if lead := got[0] + got[1] + got[2] + got[3]; lead != 14 || !slices.Equal(got[4:], of.Seconds) {
		t.Errorf("%v are due, of %v", got, of.Seconds)
	}
	if !reflect.DeepEqual(schedule, scheduled(of, 4*time.Second, 1)) {
		t.Error("two schedules of one seed differ")
	}
}

func TestColdStarts(t *testing.T) {
	moment := func(at float64, desired, ready int32) platform.Moment {
		return platform.Moment{At: after(at), Revisions: []platform.Replicas{{Desired: desired, Ready: ready}}}
	}
	for _, c := range []struct {
		name    string
		moments []platform.Moment
		want    []time.Duration
	}{
		{"none", nil, nil},
		{"one after the other", []platform.Moment{moment(0, 1, 1), moment(1, 3, 1), moment(3, 3, 2), moment(5, 3, 3)}, []time.Duration{2 * time.Second, 4 * time.Second}},
		{"both at once", []platform.Moment{moment(0, 1, 1), moment(1, 3, 1), moment(4, 3, 3)}, []time.Duration{3 * time.Second, 3 * time.Second}},
		{"one that isn't wanted any more", []platform.Moment{moment(0, 1, 1), moment(1, 3, 1), moment(2, 2, 1), moment(4, 2, 2)}, []time.Duration{3 * time.Second}},
		{"one that was on its way before", []platform.Moment{moment(0, 2, 1), moment(2, 2, 2)}, nil},
		{"some that go", []platform.Moment{moment(0, 3, 3), moment(2, 1, 3), moment(3, 1, 1)}, nil},
	} {
		if got := coldStarts(c.moments); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMeasured(t *testing.T) {
	s := &subject{model: new(bench).sleeper("m", func(*v1alpha1.Model) {}), latencies: []float64{.2, .2, .2, .6}}
	got := s.measured([]time.Duration{time.Second})
	if got.Latency != 300*time.Millisecond || got.TailLatency < 400*time.Millisecond || got.Parallel != concurrency || len(got.ColdStarts) != 1 {
		t.Errorf("%+v", got)
	}
	s.latencies = []float64{.2, .2}
	if got := s.measured(nil); got.TailLatency < got.Latency {
		t.Errorf("the tail is below the mean: %+v", got)
	}
}

func came(replicaSeconds, refused, offered float64) outcome {
	return outcome{
		name: "x", replicaSeconds: replicaSeconds, refused: refused, offered: offered,
		predicted: whatif.Figures{
			ReplicaSeconds: whatif.Interval{Low: 95, Median: 100, High: 104}, Refused: whatif.Interval{Low: 10, Median: 20, High: 30},
			RefusedShare: whatif.Interval{Low: .1, Median: .2, High: .3},
		},
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		of              outcome
		off, offRefused float64
	}{
		{came(100, 20, 100), 0, 0},
		{came(104, 25, 100), 4, 5},
		{came(90, 10, 100), 10, 10},
	} {
		if off, refused := c.of.off(), c.of.offRefused(); math.Abs(off-c.off) > 1e-9 || math.Abs(refused-c.offRefused) > 1e-9 {
			t.Errorf("%+v is off by %g %% and %g points, want %g and %g", c.of, off, refused, c.off, c.offRefused)
		}
	}
	if got := percentOff(10, 0); !math.IsNaN(got) {
		t.Errorf("of nothing it is off by %g %%", got)
	}
}

// One interval of six may miss what came, of replica-seconds and of the refused each.
func TestFiguresOf(t *testing.T) {
	inside, outside, refusedOutside := came(95, 30, 100), came(104.1, 20, 100), came(100, 31, 100)
	for _, c := range []struct {
		all    []outcome
		missed int
	}{
		{slices.Repeat([]outcome{inside}, 6), 0},
		{append(slices.Repeat([]outcome{inside}, 4), outside, refusedOutside), 0},
		{append(slices.Repeat([]outcome{inside}, 4), outside, outside), 1},
		{append(slices.Repeat([]outcome{inside}, 4), refusedOutside, refusedOutside), 1},
		{append(slices.Repeat([]outcome{inside}, 16), outside, outside, outside, inside), 0},
	} {
		r := report.New("test", start)
		figures := figuresOf(c.all)
		r.Add("intervals", figures[len(figures)-2:]...)
		if r.Missed != c.missed || r.Held != 2-c.missed {
			t.Errorf("of %d outcomes %d bounds are missed, want %d", len(c.all), r.Missed, c.missed)
		}
	}
}

func TestAiming(t *testing.T) {
	for _, part := range append([]float64{.05}, wrongStarts...) {
		var a v1alpha1.AutoscalingSpec
		aiming(&a, part*rightAim)
		is := float64(*a.Target) * float64(*a.TargetUtilization) / 100
		if math.Abs(is-part*rightAim) > .03*part*rightAim || *a.TargetUtilization > 100 {
			t.Errorf("%g of the right aim is %d %% of %d", part, *a.TargetUtilization, *a.Target)
		}
	}
}

// All over the space there are places, each once, and what was proposed is one.
func TestGrid(t *testing.T) {
	proposed := whatif.Settings{Target: 50, TargetUtilization: 57, MinReplicas: 2, MaxReplicas: 5, Window: 15 * time.Second, HeadroomPercent: 100}
	got := grid([]whatif.Settings{proposed, proposed})
	if len(got) < 10*6*5*3 || len(got) > 15*6*5*3 {
		t.Errorf("%d places", len(got))
	}
	seen := map[whatif.Settings]bool{}
	for _, s := range got {
		if seen[s] || s.TargetUtilization < 1 || s.TargetUtilization > 100 || s.Target < 1 || s.MinReplicas > s.MaxReplicas {
			t.Errorf("%s, seen before: %t", s, seen[s])
		}
		seen[s] = true
	}
	if !seen[proposed] {
		t.Errorf("%s isn't there", proposed)
	}
}

func TestKeeps(t *testing.T) {
	at := func(v float64) whatif.Interval { return whatif.Interval{Low: v, Median: v, High: v} }
	for _, c := range []struct {
		over, refused, failed float64
		want                  bool
	}{
		{0, 0, 0, true}, {.02, .01, 0, true}, {.021, 0, 0, false}, {0, .011, 0, false}, {0, .005, 6, false}, {0, .005, 5, true},
	} {
		f := whatif.Figures{OverShare: at(c.over), RefusedShare: at(c.refused + whatif.ErrorOfRefused), Failed: at(c.failed), Offered: at(1000)}
		if got := keeps(f); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestSecondsOver(t *testing.T) {
	of := trace.Trace{Seconds: []float32{10, 10, 0, 2, 5}}
	var answers []load.Answer
	add := func(second, n int, latency time.Duration, status int) {
		for range n {
			answers = append(answers, load.Answer{Due: after(float64(second) + .5), Latency: latency, Status: status})
		}
	}
	add(0, 9, goal, http.StatusOK)
	add(0, 1, 2*goal, http.StatusOK) // one of ten may be slow
	add(1, 8, goal, http.StatusOK)
	add(1, 2, 2*goal, http.StatusOK)
	add(3, 1, goal/2, http.StatusOK)
	add(3, 1, 2*goal, http.StatusTooManyRequests) // who is refused doesn't wait
	add(4, 5, goal/2, http.StatusOK)
	add(5, 5, 2*goal, http.StatusOK) // past the end
	if got := secondsOver(answers, start, of); math.Abs(got-.25) > 1e-9 {
		t.Errorf("%g of the seconds are over, want one of four", got)
	}
}

// What is tried is all that is proposed, and nothing else.
func TestTrialOf(t *testing.T) {
	s := whatif.Settings{Target: 10, TargetUtilization: 57, MinReplicas: 2, MaxReplicas: 5, Window: 15 * time.Second, HeadroomPercent: 50}
	m := new(bench).startOf("m", 1)
	trial := trialOf(s)
	m.Spec.Trial = &trial
	want := s.On(new(bench).startOf("m", 1)).Spec
	got := m.Tried().Spec
	got.Trial = nil
	if !reflect.DeepEqual(got.Autoscaling, want.Autoscaling) || *got.Limit.HeadroomPercent != 50 || *got.Limit.RequestsPerSecondPerReplica != *want.Limit.RequestsPerSecondPerReplica {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// No kind's Model has more replicas than it may, and all can be made to grow for a measurement.
func TestKinds(t *testing.T) {
	for _, k := range kinds {
		m := new(bench).sleeper("m", func(m *v1alpha1.Model) {
			if k.change != nil {
				k.change(&m.Spec.Autoscaling)
			}
		})
		if a := m.Spec.Autoscaling; ptr.Int32Value(a.MaxReplicas) <= ptr.Int32Value(a.MinReplicas) {
			t.Errorf("%s: %d to %d replicas", k.name, ptr.Int32Value(a.MinReplicas), ptr.Int32Value(a.MaxReplicas))
		}
	}
	if d := day(); d.Known() != 86400 || d.Requests() < 1e6 {
		t.Errorf("a day of %d seconds and %g requests", d.Known(), d.Requests())
	}
}

package verdict

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const m = trace.Missing

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// repeat is a figure of so many seconds.
func repeat(n int, of float32) []float32 { return slices.Repeat([]float32{of}, n) }

func TestMeasure(t *testing.T) {
	of := func(start time.Duration, requests, ready []float32) trace.Trace {
		return trace.Trace{Start: noon.Add(start), Seconds: requests, Ready: ready}
	}
	for name, c := range map[string]struct {
		recorded trace.Trace
		from, to time.Duration
		want     measured
		demand   []float32
	}{
		"all of it": {of(-2*time.Second, []float32{9, 9, 3, 0, 5, 9}, []float32{9, 9, 2, 3, 1, 9}), 0, 3 * time.Second,
			measured{seconds: 3, known: 3, busy: 2, requests: 8, readySeconds: 6, first: 2}, []float32{3, 0, 5}},
		"parts of seconds": {of(0, []float32{9, 3, 4, 9}, []float32{9, 1, 2, 9}), 300 * time.Millisecond, 3700 * time.Millisecond,
			measured{seconds: 2, known: 2, busy: 2, requests: 7, readySeconds: 3, first: 1}, []float32{3, 4}},
		"something is missing": {of(0, []float32{m, 3, 4, 5}, []float32{1, m, 2, 3}), 0, 4 * time.Second,
			measured{seconds: 4, known: 2, busy: 2, requests: 9, readySeconds: 5, first: 2}, []float32{m, m, 4, 5}},
		"it was recorded late, and not to the end": {of(2*time.Second, []float32{3, 4}, []float32{2, 2}), 0, 6 * time.Second,
			measured{seconds: 6, known: 2, busy: 2, requests: 7, readySeconds: 4, first: 2}, []float32{3, 4}},
		"without replicas": {of(0, []float32{3, 4}, nil), 0, 2 * time.Second, measured{seconds: 2}, []float32{m, m}},
		"long before":      {of(0, []float32{3, 4}, nil), -time.Hour, -time.Minute, measured{seconds: 3540}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, demand := measure(c.recorded, noon.Add(c.from), noon.Add(c.to))
			if got != c.want || !slices.Equal(demand.Seconds, c.demand) {
				t.Errorf("%+v of %v, want %+v of %v", got, demand.Seconds, c.want, c.demand)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	about := func(n, by float64) whatif.Interval { return whatif.Interval{Low: n - by, Median: n, High: n + by} }
	figures := func(ready, refused, over float64) whatif.Figures {
		return whatif.Figures{ReadySeconds: about(ready, 10), RefusedShare: about(refused, 0), OverShare: about(over, 0)}
	}
	is := measured{seconds: 300, known: 300, busy: 200, requests: 3000, readySeconds: 300}
	for name, c := range map[string]struct {
		replays []replayed
		reason  string
		says    string
	}{
		"fewer replicas":                  {[]replayed{{base: figures(400, 0, 0), tried: figures(310, 0, 0)}}, "Better", "take 390 to 410, refuse 0.0 to 0.0 %"},
		"fewer, but not in the replay":    {[]replayed{{base: figures(330, 0, 0), tried: figures(340, 0, 0)}}, "NotBetter", "take 320 to 340"},
		"hardly fewer":                    {[]replayed{{base: figures(310, 0, 0), tried: figures(310, 0, 0)}}, "NotBetter", "take 300 to 320"},
		"more":                            {[]replayed{{base: figures(200, 0, 0), tried: figures(310, 0, 0)}}, "NotBetter", "It took 300 ready replica-seconds"},
		"fewer, which refuse more":        {[]replayed{{base: figures(400, .01, 0), tried: figures(310, .016, 0)}}, "NotBetter", "refuses 1.6 to 1.6 %"},
		"fewer, which refuse as much":     {[]replayed{{base: figures(400, .01, 0), tried: figures(310, .0149, 0)}}, "Better", "refuses 1.5 to 1.5 %"},
		"more, which keep the goal":       {[]replayed{{base: figures(200, 0, .021), tried: figures(310, 0, .02)}}, "Better", "misses it in 2.0 to 2.0 %"},
		"more, which don't":               {[]replayed{{base: figures(200, 0, .3), tried: figures(310, 0, .021)}}, "NotBetter", ""},
		"more, which need not":            {[]replayed{{base: figures(200, 0, .02), tried: figures(310, 0, 0)}}, "NotBetter", ""},
		"more, which keep it and refuse":  {[]replayed{{base: figures(200, 0, .3), tried: figures(310, .1, 0)}}, "NotBetter", ""},
		"the replay is just near enough":  {[]replayed{{base: figures(400, 0, 0), tried: figures(360, 0, 0)}}, "Better", ""},
		"the replay has too many":         {[]replayed{{base: figures(400, 0, 0), tried: figures(361, 0, 0)}}, "Unverified", "300 ready replica-seconds were measured, and what was tried comes to 361"},
		"the replay has too few":          {[]replayed{{base: figures(400, 0, 0), tried: figures(239, 0, 0)}}, "Unverified", "more than 20 % off"},
		"one of two replays has too many": {[]replayed{{base: figures(400, 0, 0), tried: figures(310, 0, 0)}, {base: figures(400, 0, 0), tried: figures(400, 0, 0), assumed: "100ms is assumed"}}, "Unverified", "off; 100ms is assumed"},
		"by both":                         {[]replayed{{base: figures(800, 0, 0), tried: figures(310, 0, 0)}, {base: figures(400, 0, 0), tried: figures(310, 0, 0), assumed: "100ms is assumed"}}, "Better", "take 390 to 410"},
		"by one of two":                   {[]replayed{{base: figures(800, 0, 0), tried: figures(310, 0, 0)}, {base: figures(300, 0, 0), tried: figures(310, 0, 0)}}, "NotBetter", "take 290 to 310"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, r := range c.replays {
				c.replays[i].more = about(r.tried.ReadySeconds.Median-r.base.ReadySeconds.Median, 0)
			}
			if got := decide(is, c.replays); got.Reason != c.reason || !strings.Contains(got.Message, c.says) {
				t.Errorf("%+v, want %s: %s", got, c.reason, c.says)
			}
		})
	}
	if got := decide(measured{seconds: 60, known: 60, busy: 60}, []replayed{{base: figures(60, 0, 0), tried: figures(60, 0, 0)}}); got.Reason != "Unverified" {
		t.Errorf("without a replica: %+v", got)
	}
}

// ranker tries a target in requests a second; a replica serves 20.
func ranker(says, tries int32) *v1alpha1.Model {
	rate, utilization, least, most := resource.MustParse("20"), int32(75), int32(1), int32(4)
	return &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker"},
		Spec: v1alpha1.ModelSpec{
			Container: corev1.Container{Image: "ranker"},
			Autoscaling: v1alpha1.AutoscalingSpec{
				MinReplicas: &least, MaxReplicas: &most, Metric: v1alpha1.MetricRPS, Target: &says, TargetUtilization: &utilization,
				Window: &metav1.Duration{Duration: 6 * time.Second},
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
			Trial: &v1alpha1.TrialSpec{
				For: metav1.Duration{Duration: time.Minute}, Keep: v1alpha1.TrialKeepIfBetter, Autoscaling: &v1alpha1.AutoscalingSpec{Target: &tries},
				Unless: &v1alpha1.TrialUnless{Latency: &v1alpha1.TrialLatency{Above: metav1.Duration{Duration: time.Second}}},
			},
		},
	}
}

// trial is one of a minute, of which that was recorded.
func trial(model *v1alpha1.Model, requests, ready []float32) Trial {
	return Trial{
		Recorded: trace.Trace{Start: noon, Seconds: requests, Ready: ready}, From: noon, To: noon.Add(time.Minute), Model: model,
		Starts: []time.Duration{2 * time.Second, 3 * time.Second},
	}
}

func TestOf(t *testing.T) {
	steady, fewer, more := repeat(60, 12), slices.Concat(repeat(4, 4), repeat(56, 1)), slices.Concat(repeat(4, 1), repeat(56, 4))
	hpa := ranker(5, 20)
	hpa.Annotations = map[string]string{"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}
	for name, c := range map[string]struct {
		trial  Trial
		reason string
		says   string
	}{
		"thriftier":         {trial(ranker(5, 20), steady, fewer), "Better", "It took 72 ready replica-seconds in the 60 s recorded, with 720 requests, and passed no bound."},
		"dearer":            {trial(ranker(20, 5), steady, more), "NotBetter", "It took 228 ready replica-seconds"},
		"as it was":         {trial(ranker(20, 19), steady, repeat(60, 1)), "NotBetter", "the Model's own values take 58 to "},
		"not what happened": {trial(ranker(5, 20), steady, repeat(60, 4)), "Unverified", "how long a replica works on a request isn't known, and 1ms is assumed"},
		"few requests":      {trial(ranker(5, 20), slices.Concat(repeat(29, 12), repeat(31, 0)), repeat(60, 1)), "Unverified", "requests came in 29 s of it; it takes 30 s"},
		"much is missing":   {trial(ranker(5, 20), slices.Concat(repeat(53, 12), repeat(7, m)), repeat(60, 1)), "Unverified", "of its 60 s, requests and replicas of 53 s are recorded"},
		"a little is":       {trial(ranker(5, 20), slices.Concat(repeat(54, 12), repeat(6, m)), fewer), "Better", "in the 54 s recorded"},
		"no replicas told":  {trial(ranker(5, 20), steady, nil), "Unverified", "of 0 s are recorded"},
		"another autoscaler": {trial(hpa, steady, fewer), "Unverified",
			"what came of it can't be replayed: metadata.annotations[autoscaling.knative.dev/class] is hpa.autoscaling.knative.dev"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Of(t.Context(), c.trial)
			if err != nil || got.Reason != c.reason || !strings.Contains(got.Message, c.says) {
				t.Errorf("%+v, %v\nwant %s: %s", got, err, c.reason, c.says)
			}
		})
	}
	known := trial(ranker(5, 20), steady, fewer)
	known.Latency = 20 * time.Millisecond
	if got, err := Of(t.Context(), known); err != nil || got.Reason != "Better" || strings.Contains(got.Message, "assumed") {
		t.Errorf("of a known latency: %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Of(ctx, known); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
}

func TestLatencies(t *testing.T) {
	rate := func(text string) *v1alpha1.Model {
		model, q := ranker(5, 20), resource.MustParse(text)
		model.Spec.Limit.RequestsPerSecondPerReplica = &q
		return model
	}
	quick := ranker(5, 20)
	quick.Spec.Trial.Unless.Latency.Above.Duration = 30 * time.Millisecond
	for name, c := range map[string]struct {
		trial Trial
		want  []time.Duration
	}{
		"not known":                       {Trial{Model: ranker(5, 20)}, []time.Duration{time.Millisecond, 100 * time.Millisecond}},
		"not known, of a slow Model":      {Trial{Model: rate("2")}, []time.Duration{time.Millisecond, 500 * time.Millisecond}},
		"not known, slower than it was":   {Trial{Model: rate("0.1")}, []time.Duration{time.Millisecond, time.Second}},
		"not known, with a short goal":    {Trial{Model: quick}, []time.Duration{time.Millisecond, 30 * time.Millisecond}},
		"known":                           {Trial{Model: ranker(5, 20), Latency: 20 * time.Millisecond}, []time.Duration{20 * time.Millisecond}},
		"known by a warm-up under a load": {Trial{Model: quick, Latency: 50 * time.Millisecond}, []time.Duration{30 * time.Millisecond}},
	} {
		if got := c.trial.latencies(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if g := (Trial{Model: ranker(5, 20)}).goal(); g.Percentile != 99 || g.Within != time.Second {
		t.Errorf("%+v", g)
	}
}

package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/test/load"
)

func TestFlags(t *testing.T) {
	required := []string{"-streams", "s", "-kubeconfig", "k"}
	for name, tt := range map[string]struct {
		arguments []string
		want      string
	}{
		"all parts":     {required, ""},
		"some":          {append(slices.Clone(required), "-only", "steady,scale"), ""},
		"unknown part":  {append(slices.Clone(required), "-only", "steady,all"), `no part is called "all"`},
		"no image":      {[]string{"-kubeconfig", "k"}, "-streams is required"},
		"more than all": {append(slices.Clone(required), "x"), "unexpected argument"},
	} {
		o, err := parse(tt.arguments)
		if tt.want == "" && (err != nil || o.streams != "s") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %+v, error %v, want %q", name, o, err, tt.want)
		}
	}
}

func TestSlotsAreRead(t *testing.T) {
	slot := resources.Slot{
		Gateway: "g", Slots: 4, Index: 2, ProbeToken: strings.Repeat("a", 32),
		Limits: [][]resources.Limit{{
			{VirtualService: "n.whole", MaxTokens: 3, Tokens: 3, Fill: 150 * time.Millisecond},
			{VirtualService: "n.split", MaxTokens: 3, Tokens: 40, Fill: 80 * time.Second},
			{VirtualService: "n.split", Cluster: "outbound|80||r", MaxTokens: 3, Tokens: 7, Fill: time.Second},
		}},
	}
	object, generations, err := slot.EnvoyFilter()
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(object)
	if err != nil || got.generation != generations[0] {
		t.Errorf("generation %q, error %v, want %q", got.generation, err, generations[0])
	}
	if len(got.rates) != 2 || math.Abs(got.rates["n.whole"]-20) > 1e-9 || math.Abs(got.rates["n.split"]-0.5) > 1e-9 {
		t.Errorf("rates %v, want 20 and 0.5", got.rates)
	}
	object.Spec.ConfigPatches = nil
	if _, err := read(object); err == nil {
		t.Error("an empty filter was taken for a slot")
	}
}

// report is of a load that was offered and admitted so much each second.
func reported(offered, admitted int) *load.Report {
	got := &load.Report{Seconds: make([]load.Second, settle+measured+1)}
	for i := range got.Seconds {
		got.Seconds[i] = load.Second{Index: i, Offered: offered, Admitted: admitted, Limited: offered - admitted}
	}
	got.Total = load.Sum(got.Seconds)
	return got
}

func TestOnlyWholeLoadsCount(t *testing.T) {
	got, err := count(reported(400, 198), 400)
	if err != nil || math.Abs(got.off(200)-1) > 1e-9 || got.rate() != 198 || got.refused() != 0.505 {
		t.Errorf("%+v, error %v, want 1 %% off", got, err)
	}
	for name, spoil := range map[string]func(*load.Report){
		"offered too little": func(r *load.Report) { r.Seconds[settle+1].Offered -= 40 },
		"not sent":           func(r *load.Report) { r.Total.Dropped = 1 },
		"ended early":        func(r *load.Report) { r.Seconds = r.Seconds[:settle+1] },
		"failed":             func(r *load.Report) { r.Total.Failed = 1 },
		"unanswered":         func(r *load.Report) { r.Total.Errored = 1 },
	} {
		r := reported(400, 198)
		spoil(r)
		if _, err := count(r, 400); err == nil {
			t.Errorf("%s: it counts", name)
		}
	}
	short := reported(400, 198)
	short.Total.Dropped = 3
	if _, err := count(short, 400); !errors.Is(err, errBehind) {
		t.Errorf("error %v, want that it fell behind", err)
	}
}

// arrivals are times at a rate from one second to another.
func arrivals(rate, from, to float64) []time.Time {
	var all []time.Time
	for at := from; at < to-1e-9; at += 1 / rate {
		all = append(all, second(at))
	}
	return all
}

func TestStepsAreJudged(t *testing.T) {
	stands := []stand{
		{limit: 100, from: second(0), to: second(1)},
		{limit: 300, from: second(2), to: second(4), writes: 1},
	}
	for name, tt := range map[string]struct {
		admitted []time.Time
		want     stepped
	}{
		"just the limits, the smaller one between": {
			slices.Concat(arrivals(100, 0, 2), arrivals(300, 2, 4)),
			// 636 of 600 + a filling of 36 for the second stand: (600+36)/636.
			stepped{over: []float64{0, 600/636. - 1}, short: []float64{0, 0}, overInAll: 800/1036. - 1, shortInAll: 0},
		},
		"too much at first, too little then": {
			slices.Concat(arrivals(110, 0, 1), arrivals(300, 1, 2), arrivals(270, 2, 4)),
			stepped{over: []float64{0.1, 540/636. - 1}, short: []float64{-0.1, 0.1}, overInAll: 950/1036. - 1, shortInAll: 1 - 950/800.},
		},
	} {
		got := judge(stands, tt.admitted, 3)
		near := func(a, b float64) bool { return math.Abs(a-b) < 0.006 }
		if !slices.EqualFunc(got.over, tt.want.over, near) || !slices.EqualFunc(got.short, tt.want.short, near) ||
			!near(got.overInAll, tt.want.overInAll) || !near(got.shortInAll, tt.want.shortInAll) || got.writes != 1 {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestSpanOfTurns(t *testing.T) {
	until, first, last := span([]turn{
		{until: second(3), at: second(4)}, {until: second(1), at: second(6)}, {until: second(2), at: second(2.5)},
	})
	if !until.Equal(second(1)) || !first.Equal(second(2.5)) || !last.Equal(second(6)) {
		t.Errorf("until %v, first %v, last %v", until, first, last)
	}
}

func TestStepsAlwaysChangeTheScale(t *testing.T) {
	chance, n := rand.New(rand.NewPCG(1, 1)), 1
	visited := map[int]bool{}
	for range 1000 {
		next := another(chance, n)
		if next == n || next < 1 || next > mostSteps {
			t.Fatalf("from %d to %d", n, next)
		}
		n, visited[next] = next, true
	}
	if len(visited) != mostSteps {
		t.Errorf("visited %v", visited)
	}
}

func TestBoundBesideAChangingLimit(t *testing.T) {
	if got := besideBound(200, 0, 3); got != 200 {
		t.Errorf("at rest %v", got)
	}
	// Three times a second 20 and, on each of two pods, one more.
	if got := besideBound(200, 3, 2); math.Abs(got-266) > 1e-9 {
		t.Errorf("with three writes a second %v", got)
	}
}

func TestEventsOfASubjectAreOneWriters(t *testing.T) {
	for _, l := range levels {
		writer, events := map[int]int{}, make([]int, l.subjects)
		for n := range 10 * l.subjects {
			i := turnOf(n, l.subjects)
			if w, ok := writer[i]; ok && w != n%writers {
				t.Fatalf("subject %d is of writers %d and %d", i, w, n%writers)
			}
			writer[i] = n % writers
			events[i]++
		}
		if slices.Min(events) != 10 || slices.Max(events) != 10 {
			t.Errorf("%d subjects had from %d to %d events each", l.subjects, slices.Min(events), slices.Max(events))
		}
	}
}

func TestSubjectsAreSpread(t *testing.T) {
	onGateway, names := map[string]int{}, map[string]bool{}
	for i := range 1000 {
		s := follower(i)
		onGateway[s.gateway]++
		names[s.cap] = true
	}
	if len(onGateway) != gateways || len(names) != caps || onGateway[ownGateway] < 1000/gateways {
		t.Errorf("%d gateways, %d caps, %d on our own", len(onGateway), len(names), onGateway[ownGateway])
	}
}

func TestOtherSlotsAreFound(t *testing.T) {
	changing := fixed("changing", 50)
	if s := named("apart", func(s subject) bool { return s.slot() != changing.slot() }); s.slot() == changing.slot() {
		t.Error("apart isn't")
	}
	if s := named("beside", func(s subject) bool { return s.slot() == changing.slot() }); s.slot() != changing.slot() {
		t.Error("beside isn't")
	}
}

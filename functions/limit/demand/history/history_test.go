package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/whatif/trace"
)

func TestShort(t *testing.T) {
	for n := range 2048 {
		if got := shorten(float64(n)).requests(); got != float32(n) {
			t.Fatalf("%d is kept as %g", n, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Float64Range(0, 2e9).Draw(t, "requests")
		s := shorten(n)
		if got := float64(s.requests()); s == missing || math.Abs(got-n) > max(.5, .0005*n) {
			t.Fatalf("%g is kept as %g", n, got)
		}
	})
	for _, n := range []float64{-1, math.NaN(), math.Inf(-1)} {
		if s := shorten(n); s != 0 {
			t.Errorf("%g is kept as %g", n, s.requests())
		}
	}
	if s := shorten(math.Inf(1)); s == missing || s.requests() < 1e9 {
		t.Errorf("any number is kept as %g", s.requests())
	}
	if size := unsafe.Sizeof([seconds]short{}); size != 172_800 {
		t.Errorf("a day takes %d bytes, the documentation says 172,800", size)
	}
}

// moment is a time in seconds.
func moment(s float64) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

// owner is what stands before the dot.
func owner(name string) string {
	of, _, _ := strings.Cut(name, ".")
	return of
}

func all(string) bool { return true }

func one(n float64) map[string]float64 { return map[string]float64{"m": n} }

func TestTell(t *testing.T) {
	const m = trace.Missing
	type telling struct {
		at, came float64
		part     bool
	}
	for name, c := range map[string]struct {
		told []telling
		from float64
		want []float32
	}{
		"each second":         {[]telling{{0, 9, false}, {1, 5, false}, {2, 0, false}, {3, 7, false}}, 0, []float32{5, 0, 7}},
		"the first isn't all": {[]telling{{.5, 9, false}, {1.5, 5, false}, {2.5, 6, false}, {3.5, 6, false}}, 1, []float32{6, 6}},
		"late":                {[]telling{{0, 0, false}, {1, 4, false}, {3, 8, false}, {4, 2, false}}, 0, []float32{4, 4, 4, 2}},
		"not all of it":       {[]telling{{0, 0, false}, {1, 4, false}, {2, 4, false}, {3, 3, true}, {4, 2, false}, {5, 2, false}}, 0, []float32{4, 4, m, 2, 2}},
		"nor at its end":      {[]telling{{0, 0, false}, {1, 4, false}, {1.5, 4, true}, {2.5, 3, false}, {3.5, 2, false}}, 0, []float32{4, m, 3}},
		"too late":            {[]telling{{0, 0, false}, {1, 4, false}, {2, 4, false}, {6, 40, false}, {7, 2, false}, {8, 3, false}}, 0, []float32{4, 4, m, m, m, m, 2, 3}},
		"the clock goes back": {[]telling{{0, 0, false}, {1, 4, false}, {2, 4, false}, {-5, 1, false}, {-4, 2, false}, {-3, 3, false}}, -5, []float32{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			h := New(1, owner)
			for _, x := range c.told {
				h.Tell(moment(x.at), one(x.came), func(string) bool { return !x.part })
			}
			got, ok := h.Of("m", time.Time{})
			if !ok || !got.Start.Equal(moment(c.from)) || !slices.Equal(got.Seconds, c.want) {
				t.Errorf("%v from %v, want %v from %v", got.Seconds, got.Start, c.want, moment(c.from))
			}
		})
	}
}

// However the times lie, all that came in seconds that are known is kept, once.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, now, total := New(1, owner), rapid.Float64Range(0, 1).Draw(t, "begin"), 0.
		h.Tell(moment(now), one(3), all)
		for range rapid.IntRange(4, 60).Draw(t, "times") {
			now += rapid.Float64Range(.5, 2.5).Draw(t, "after")
			n := float64(rapid.IntRange(0, 1000).Draw(t, "came"))
			total += n
			h.Tell(moment(now), one(n), all)
		}
		got, ok := h.Of("m", time.Time{})
		open := h.open["m"]
		if !ok {
			return // nothing came in a whole second
		}
		// The first second isn't known; each other is rounded to a request.
		if kept := got.Requests() + open; kept > total+float64(len(got.Seconds)) || kept < total-2.5*1000-float64(len(got.Seconds)) {
			t.Fatalf("%g of %g requests are kept", kept, total)
		}
		if got.Known() != len(got.Seconds) {
			t.Fatalf("%d seconds of %d are known", got.Known(), len(got.Seconds))
		}
	})
}

// It is as large as its room: those that were asked for last stay.
func TestRoom(t *testing.T) {
	h := New(3, owner)
	h.Tell(moment(0), nil, all)
	for i := range 1000 {
		h.Tell(moment(float64(i)+1.5), map[string]float64{fmt.Sprint("o.m", i%10): 5, "o.always": 1}, all)
		if len(h.rings) > 3 || len(h.open) > 3 {
			t.Fatalf("%d are kept, and %d open", len(h.rings), len(h.open))
		}
	}
	for name, want := range map[string]bool{"o.always": true, "o.m8": true, "o.m2": false} {
		if _, ok := h.Of(name, time.Time{}); ok != want {
			t.Errorf("%s is kept: %t, want %t", name, ok, want)
		}
	}
	many := map[string]float64{}
	for i := range 50 {
		many[fmt.Sprint("o.n", i)] = 1
	}
	for i := range 5 {
		h.Tell(moment(1002+float64(i)), many, all)
	}
	if len(h.rings) != 3 {
		t.Errorf("%d are kept, want 3", len(h.rings))
	}
}

// What is older than a day goes, and so does one without a request in a day.
func TestADay(t *testing.T) {
	h := New(2, owner)
	h.Tell(moment(0), nil, all)
	for i := 1; i <= 2*86400; i++ {
		came := map[string]float64{"m": float64(i % 7)}
		if i < 1000 {
			came["once"] = 1
		}
		h.Tell(moment(float64(i)), came, all)
	}
	got, ok := h.Of("m", time.Time{})
	if !ok || len(got.Seconds) != 86400 || got.Known() != 86400 || got.Start != moment(86400).UTC() {
		t.Errorf("%d seconds from %v, %d known", len(got.Seconds), got.Start, got.Known())
	}
	if _, ok := h.Of("once", time.Time{}); ok {
		t.Error("one without a request for a day is kept")
	}
	h.Tell(moment(10*86400), one(1), all)
	if _, ok := h.Of("m", time.Time{}); ok {
		t.Error("what is ten days old is kept")
	}
}

// What is told begins when it is asked from, wherever that lies in the ring.
func TestSince(t *testing.T) {
	h := New(1, owner)
	h.Tell(moment(0), nil, all)
	for i := 1; i <= 86400+20_000; i++ {
		h.Tell(moment(float64(i)), one(float64(i%1000)), all)
	}
	for since, want := range map[float64]struct{ from, seconds int }{
		0:             {20_000, 86400},
		20_001:        {20_001, 86399},
		50_000.5:      {50_001, 56399},
		86400 + 19999: {106_399, 1},
		86400 + 20000: {},
		1e6:           {},
	} {
		got, ok := h.Of("m", moment(since))
		if ok != (want.seconds > 0) || len(got.Seconds) != want.seconds {
			t.Errorf("since %g: %d seconds are told, want %d", since, len(got.Seconds), want.seconds)
			continue
		}
		for i, n := range got.Seconds {
			if n != float32((want.from+i+1)%1000) {
				t.Fatalf("since %g: second %d has %g requests", since, i, n)
			}
		}
		if ok && !got.Start.Equal(moment(float64(want.from))) {
			t.Errorf("since %g: told from %v, want %v", since, got.Start, moment(float64(want.from)))
		}
	}
}

// A second is missing of those alone of which not all is known, and one that wasn't known of
// before isn't begun by a part of a second.
func TestPartly(t *testing.T) {
	h := New(3, owner)
	came := map[string]float64{"a": 4, "b": 6}
	but := func(of string) func(string) bool { return func(name string) bool { return name != of } }
	h.Tell(moment(0), nil, all)
	h.Tell(moment(1), came, all)
	h.Tell(moment(1.5), came, but("b"))
	h.Tell(moment(2), map[string]float64{"a": 4, "b": 6, "c": 1}, all)
	h.Tell(moment(2.5), came, but("c"))
	h.Tell(moment(3), map[string]float64{"a": 4, "b": 6, "c": 1}, all)
	h.Tell(moment(4), map[string]float64{"a": 4, "b": 6, "c": 1}, all)
	const m = trace.Missing
	for name, want := range map[string][]float32{"a": {4, 8, 8, 4}, "b": {6, m, 12, 6}, "c": {1, m, 1}} {
		if got, ok := h.Of(name, time.Time{}); !ok || !slices.Equal(got.Seconds, want) {
			t.Errorf("%s: %v, want %v", name, got.Seconds, want)
		}
	}
}

// Who has most makes room, and nobody loses a history to one that has as many.
func TestRoomIsShared(t *testing.T) {
	type second []string
	for name, c := range map[string]struct {
		seconds []second
		want    []string
	}{
		"many sparse ones evict their own":      {[]second{{"a.1"}, {"b.1"}, {"b.2"}, {"b.3"}, {"b.4"}, {"b.5"}, {"b.6"}}, []string{"a.1", "b.4", "b.5", "b.6"}},
		"a newcomer evicts who has most":        {[]second{{"a.1"}, {"b.1"}, {"b.2"}, {"b.3"}, {"c.1"}}, []string{"a.1", "b.2", "b.3", "c.1"}},
		"of those with demand too":              {[]second{{"b.1", "b.2", "b.3", "b.4"}, {"b.1", "b.2", "b.3", "b.4", "a.1"}}, []string{"a.1", "b.2", "b.3", "b.4"}},
		"which doesn't come back":               {[]second{{"b.1", "b.2", "b.3", "b.4"}, {"b.1", "b.2", "b.3", "b.4", "a.1"}, {"b.1", "b.2", "b.3", "b.4", "a.1"}}, []string{"a.1", "b.2", "b.3", "b.4"}},
		"as many as another's":                  {[]second{{"b.1"}, {"b.2"}, {"a.1"}, {"a.2"}, {"a.3"}}, []string{"a.2", "a.3", "b.1", "b.2"}},
		"one each, and the longest unused goes": {[]second{{"a.1"}, {"b.1"}, {"c.1"}, {"d.1"}, {"a.1"}, {"e.1"}}, []string{"a.1", "c.1", "d.1", "e.1"}},
		"one each, and all have demand":         {[]second{{"a.1", "b.1", "c.1", "d.1"}, {"a.1", "b.1", "c.1", "d.1", "e.1"}}, []string{"a.1", "b.1", "c.1", "d.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := New(4, owner)
			h.Tell(moment(0), nil, all)
			for i, names := range c.seconds {
				came := map[string]float64{}
				for _, name := range names {
					came[name] = 1
				}
				h.Tell(moment(float64(i+1)), came, all)
			}
			if got := slices.Sorted(maps.Keys(h.rings)); !slices.Equal(got, c.want) {
				t.Errorf("kept are %v, want %v", got, c.want)
			}
		})
	}
	// Whatever comes, who has no more than an equal part of the room loses nothing of it.
	rapid.Check(t, func(t *rapid.T) {
		h, had := New(6, owner), map[string]int{}
		h.Tell(moment(0), nil, all)
		for i := range rapid.IntRange(1, 40).Draw(t, "seconds") {
			came := map[string]float64{}
			for _, name := range rapid.SliceOfN(rapid.StringMatching(`[abc]\.[1-7]`), 0, 8).Draw(t, "names") {
				came[name] = 1
			}
			h.Tell(moment(float64(i+1)), came, all)
			has := map[string]int{}
			for name := range h.rings {
				has[owner(name)]++
			}
			for of, n := range had {
				if has[of] < min(n, 2) {
					t.Fatalf("%s had %d of 6 among three, and has %d", of, n, has[of])
				}
			}
			if had = has; len(h.rings) > 6 {
				t.Fatalf("%d are kept", len(h.rings))
			}
		}
	})
}

package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/slack"
)

const serves = 100.0

func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 7)) }

// usual is a scene in which nothing is lost.
func usual(demand func(time.Duration) float64) scene {
	return scene{
		rule: slack.Usual, serves: serves, limit: serves, demand: demand, length: 2 * time.Minute,
		workers: 4, wanted: serves, way: 20 * time.Millisecond, random: seeded(1),
	}
}

// part is a part of what the replicas serve, as a demand.
func part(of float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return of * serves }
}

// ramp goes from 30 to 90 % in some time, after ten seconds.
func ramp(takes time.Duration) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		done := min(1, max(0, (at-10*time.Second).Seconds())/max(takes, time.Millisecond).Seconds())
		return serves * (.3 + .6*done)
	}
}

// wave is at 30 % for half of a time, and then at a level for the other half.
func wave(period time.Duration, level float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		if at%period < period/2 {
			return .3 * serves
		}
		return level * serves
	}
}

// TestExcess shows how far both together exceed what the replicas serve, and holds it
// against the formula. Its table is in the log.
func TestExcess(t *testing.T) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "demand\tpeak\tformula\tfor\trequests\tused\t")
	for _, tt := range []struct {
		name   string
		demand func(time.Duration) float64
		// rises is how often the demand does, takes how long each time.
		rises int
		takes time.Duration
	}{
		{"step 30 to 90 %", ramp(0), 1, 0},
		{"ramp in 5 s", ramp(5 * time.Second), 1, 5 * time.Second},
		{"ramp in 10 s", ramp(10 * time.Second), 1, 10 * time.Second},
		{"ramp in 30 s", ramp(30 * time.Second), 1, 30 * time.Second},
		{"ramp in 60 s", ramp(time.Minute), 1, time.Minute},
		{"30 and 90 %, every 4 s", wave(4*time.Second, .9), 30, 0},
		{"30 and 90 %, every 20 s", wave(20*time.Second, .9), 6, 0},
		{"30 and 300 %, every 20 s", wave(20*time.Second, 3), 6, 0},
	} {
		s := usual(tt.demand)
		o := play(s)
		if o.beyond > 1e-6 || o.rogue > 1e-6 {
			t.Errorf("%s: exceeds the formula by %g, and by %g where no credits are gone by", tt.name, o.beyond, o.rogue)
		}
		if most := time.Duration(tt.rises) * (tt.takes + s.rule.Yields((&run{scene: s}).steps())); o.over > most {
			t.Errorf("%s: for %v, want at most %v", tt.name, o.over, most)
		}
		fmt.Fprintf(w, "%s\t%.1f %%\t%.1f %%\t%v\t%.1f\t%.0f %%\t\n", tt.name, o.peak, max(0, o.allowed), o.over, o.requests, 100*o.sent/o.left)
	}
	_ = w.Flush()
	t.Logf("of what replicas serve\n%s", text.String())
}

// Of what a steady demand leaves, batch uses nine tenths and more, even where that is little,
// and where readings are as far off as a busy machine's.
// Where requests come by chance, it is less: with both near all that replicas serve, each
// second with more of them has some wait, and these are worked off first.
func TestUse(t *testing.T) {
	byChance := map[float64]float64{0: .95, .3: .9, .6: .85, .9: .6}
	for _, level := range []float64{0, .3, .6, .9} {
		for name, tt := range map[string]struct {
			chance *rand.Rand
			off    time.Duration
			least  float64
		}{
			"evenly": {nil, 0, .9}, "evenly, and readings are off": {nil, 60 * time.Millisecond, .9},
			"by chance": {seeded(2), 0, byChance[level]},
		} {
			s := usual(part(level))
			s.chance, s.off, s.length = tt.chance, tt.off, 10*time.Minute
			o := play(s)
			used := o.sent / o.left
			t.Logf("%.0f %%, %s: %.1f %% used", 100*level, name, 100*used)
			if used < tt.least || used > 1 {
				t.Errorf("of what a demand of %.0f %% leaves, %.1f %% is used where requests come %s, want %.0f", 100*level, 100*used, name, 100*tt.least)
			}
		}
	}
}

// What the headroom let in for replicas that were not there waits, and is worked off before
// batch goes on.
func TestBacklogGoesFirst(t *testing.T) {
	s := usual(func(at time.Duration) float64 {
		if at < 30*time.Second {
			return 1.5 * serves
		}
		return .3 * serves
	})
	s.limit, s.length = 2*serves, 50*time.Second // 2,100 requests wait in the end, and for 30 s
	if o := play(s); o.sent > 10 {
		t.Errorf("%g requests of batch while online ones wait", o.sent)
	}
	s.length = 90 * time.Second
	if o := play(s); o.sent < 1500 {
		t.Errorf("%g requests of batch once none wait, want most of 70/s for 30 s", o.sent)
	}
}

// Whatever the demand does, whatever is lost, doubled and late, and however many workers
// there are: both together are within the formula, all the time.
func TestExcessIsWithinTheFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		levels := rapid.SliceOfN(rapid.Float64Range(0, 1.5), 2, 8).Draw(t, "levels")
		var lengths, ramps []time.Duration
		for range levels {
			length := time.Duration(rapid.IntRange(500, 9000).Draw(t, "length")) * time.Millisecond
			lengths = append(lengths, length)
			ramps = append(ramps, time.Duration(rapid.Float64Range(0, 1).Draw(t, "ramp")*float64(length)))
		}
		s := usual(func(at time.Duration) float64 {
			for i, length := range lengths[:len(lengths)-1] {
				if at < length {
					left := max(0, at-(length-ramps[i])).Seconds() / max(step, ramps[i]).Seconds()
					return serves * (levels[i] + left*(levels[i+1]-levels[i]))
				}
				at -= length
			}
			return serves * levels[len(levels)-1]
		})
		s.length = 10 * time.Second
		for _, length := range lengths {
			s.length += length
		}
		s.random = seeded(rapid.Uint64().Draw(t, "seed"))
		s.workers = rapid.IntRange(1, 6).Draw(t, "workers")
		s.wanted = rapid.Float64Range(1, 2*serves).Draw(t, "wanted")
		s.limit = serves * rapid.Float64Range(1, 2).Draw(t, "limit")
		s.rule.Margin, s.rule.Reserve = rapid.Float64Range(0, .2).Draw(t, "margin"), rapid.Float64Range(0, .2).Draw(t, "reserve")
		if rapid.Bool().Draw(t, "faults") {
			s.lost, s.doubled = rapid.Float64Range(.01, .9).Draw(t, "lost"), rapid.Float64Range(0, .5).Draw(t, "doubled")
			s.way = time.Duration(rapid.IntRange(0, 2500).Draw(t, "way")) * time.Millisecond
		}
		if o := play(s); o.beyond > 1e-6 || o.rogue > 1e-6 || math.IsNaN(o.peak) {
			t.Fatalf("both exceed the formula by %g, and by %g where no credits are gone by: %+v", o.beyond, o.rogue, o)
		}
	})
}

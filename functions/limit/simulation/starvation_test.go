package simulation

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// threeTicks is how much later than without a limit the replicas may be there.
const threeTicks = 3 * replay.TickEvery

// headroom is Demand's as it comes, 1 for 100 %.
const headroom = float64(v1alpha1.DefaultHeadroomPercent) / 100

// results of the grid's corners, by the name of the rule.
type results []map[string]outcome

func simulate(t *testing.T, corners []corner, rules func(q float64) []rule) results {
	t.Helper()
	all := make(results, len(corners))
	each(t, len(corners), func(i int) error {
		all[i] = map[string]outcome{}
		for _, r := range rules(corners[i].perReplica) {
			o, err := run(corners[i], r)
			if err != nil {
				return err
			}
			all[i][r.name] = o
		}
		return nil
	})
	return all
}

// late is how much later than without a limit a rule brings enough replicas; never if
// it doesn't.
func (r results) late(i int, name string) time.Duration {
	if r[i][name].enough == never {
		return never
	}
	return r[i][name].enough - r[i]["none"].enough
}

// starves is true where a rule that admits so much per replica shows the autoscaler no
// need for another one. Replicas that get slower would show it, and so do the first
// requests to none.
func (c corner) starves(admitted float64) bool {
	return c.settle > admitted && c.capacity() > admitted && c.before > 0 && c.same() > 1
}

// TestStarvation compares rules over the grid. Its table is in the log.
func TestStarvation(t *testing.T) {
	corners := grid()
	all := simulate(t, corners, func(q float64) []rule {
		return []rule{unlimited, ready(q), headroomOnly(q), roomy(q), withFeed(headroomOnly(q), q), always(q), demand(q)}
	})

	t.Run("no limit always scales", func(t *testing.T) {
		for i, c := range corners {
			if o := all[i]["none"]; o.same == never || o.enough == never || o.admitted < 1-1e-9 {
				t.Errorf("%v: %+v", c, o)
			}
		}
	})
	t.Run("Ready starves", func(t *testing.T) { all.checkStarved(t, corners, "Ready", 1) })
	t.Run("a headroom starves only where more is wanted of a replica", func(t *testing.T) { all.checkStarved(t, corners, "headroom", 1+headroom) })
	t.Run("a headroom is late by its rounds", func(t *testing.T) {
		for i, c := range corners {
			if late, most := all.late(i, "headroom"), c.rounds(); late > most {
				t.Errorf("%v: %v late, want at most %v", c, late, most)
			}
		}
	})
	t.Run("Demand keeps up everywhere", func(t *testing.T) {
		for i, c := range corners {
			if late := all.late(i, "Demand"); late > threeTicks {
				t.Errorf("%v: %v late", c, late)
			}
		}
	})
	t.Logf("how late enough replicas are, median and worst, in how many corners never, and how much of the first minute's demand is admitted\n%s",
		all.table(corners))
}

// checkStarved checks that a rule that admits so much per replica starves the
// autoscaler where it must, and nowhere else.
func (r results) checkStarved(t *testing.T, corners []corner, name string, admitted float64) {
	t.Helper()
	seen := 0
	for i, c := range corners {
		must, may, starved := c.starves(admitted), c.settle >= admitted, r[i][name].same == never
		if must && !starved || starved && !may {
			t.Errorf("%v: starved = %v", c, starved)
		}
		if starved {
			seen++
		}
	}
	t.Logf("%d of %d corners", seen, len(corners))
}

// rounds is how late a headroom alone may be: in each round, of three ticks and a request's time
// at most, the replicas grow by what it admits for each over what the autoscaler wants
// of each, until all of the demand is admitted.
func (c corner) rounds() time.Duration {
	growth := (1 + headroom) / c.settle
	if growth <= 1 {
		return never
	}
	rounds := math.Max(0, math.Log(c.after/(1+headroom))/math.Log(growth))
	return threeTicks + time.Duration(rounds*float64(threeTicks+c.latency))
}

// Whatever the corner, Demand ends with no fewer replicas than the autoscaler wants
// without a limit, and with no more than that or the demand at q each.
func TestDemandEndsWithEnoughReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, least, most int) time.Duration {
			return time.Duration(rapid.IntRange(least, most).Draw(t, name)) * time.Second
		}
		c := corner{
			perReplica: rapid.SampledFrom([]float64{5, 50, 1000}).Draw(t, "q"), metric: v1alpha1.MetricConcurrency,
			latency:     time.Duration(rapid.IntRange(1, 60).Draw(t, "latency")) * replay.Step,
			settle:      rapid.Float64Range(.3, 4).Draw(t, "settle"),
			utilization: rapid.Int32Range(50, 100).Draw(t, "utilization"), kind: elastic,
			before: rapid.Float64Range(0, .3).Draw(t, "before"), after: rapid.Float64Range(1, 40).Draw(t, "after"),
			ramp: seconds("ramp", 0, 60), start: seconds("start", 1, 40), window: seconds("window", 6, 90),
			most: 200, burst: rapid.SampledFrom([]int32{-1, 0, 10, 211}).Draw(t, "burst"),
		}
		if n := c.after / c.settle; math.Abs(n-math.Round(n)) < .01 {
			t.Skip("one replica more or less is a matter of rounding")
		}
		most := max(c.same(), int32(math.Ceil(c.after)))
		for _, r := range []rule{unlimited, demand(c.perReplica)} {
			s, err := newSimulation(c, r)
			if err != nil {
				t.Fatal(err)
			}
			for !s.rests() {
				if s.Now() > longest {
					t.Fatalf("%v: %s doesn't come to rest", c, r.name)
				}
				s.step()
			}
			if got := s.State().Ready; got < c.same() || got > most || (r.Limit == nil && got != c.same()) {
				t.Fatalf("%v: %s ends with %d replicas, want %d to %d", c, r.name, got, c.same(), most)
			}
		}
	})
}

// table has a line for each step and each load at which the autoscaler settles.
func (r results) table(corners []corner) string {
	type line struct{ settle, after float64 }
	lines := map[line][]int{}
	var order []line
	for i, c := range corners {
		l := line{c.settle, c.after}
		if lines[l] == nil {
			order = append(order, l)
		}
		lines[l] = append(lines[l], i)
	}
	names := []string{"none", "Ready", "headroom", "headroom 300%", "headroom+fed", "floor always", "Demand"}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "settles at\tstep\t%s\n", strings.Join(names, "\t"))
	for _, l := range order {
		fmt.Fprintf(w, "%g q\t%g×", l.settle, l.after)
		for _, name := range names {
			fmt.Fprintf(w, "\t%s", r.cell(lines[l], name))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	return text.String()
}

// cell sums up some corners.
func (r results) cell(of []int, name string) string {
	var late []time.Duration
	stuck, admitted := "", 0.
	for _, i := range of {
		admitted += r[i][name].admitted / float64(len(of))
		if l := r.late(i, name); l != never {
			late = append(late, l)
		}
	}
	if n := len(of) - len(late); n > 0 {
		stuck = fmt.Sprintf(" %d never", n)
	}
	text := "-"
	if slices.Sort(late); len(late) > 0 {
		text = fmt.Sprintf("%.0f/%.0fs", late[len(late)/2].Seconds(), late[len(late)-1].Seconds())
	}
	return fmt.Sprintf("%s%s %.0f%%", text, stuck, 100*admitted)
}

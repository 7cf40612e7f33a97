package whatif

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// course is one run of the demand.
type course struct {
	*setup
	chance   *rand.Rand
	arrivals arrivals
	phases   replay.Phases
	outcome  outcome
	tally    tally
	// passed are the known seconds that have; tuned is what is in force, and later what is yet to
	// come.
	passed int
	tuned  tuning
	later  []tuning
}

// stretch runs demand without long gaps; ok is false once enough is known.
func (c *course) stretch(ctx context.Context, seconds []float32, enough func(outcome) bool) (ok bool, err error) {
	c.tally = tally{} // what comes before the demand is nobody's
	c.tune()
	w, load, err := c.world(seconds)
	if err != nil {
		return false, err
	}
	// The demand begins somewhere between two ticks of the autoscaler.
	lead := c.arrivals.chance.IntN(int(replay.TickEvery / replay.Step))
	for range lead {
		w.Step(load * replay.Step.Seconds())
	}
	c.tally = newTally(c.setup, time.Duration(lead)*replay.Step, len(seconds))
	from, before := c.spent(w), c.outcome
	in := feed{world: w}
	var steps replay.Steps
	for i, n := range seconds {
		if i%lookEvery == 0 {
			if err := ctx.Err(); err != nil {
				return false, fmt.Errorf("replaying the demand: %w", err)
			}
			if enough != nil {
				c.outcome = before.plus(c.spent(w).minus(from))
				c.outcome.over = before.over + c.tally.until(i)
				if enough(c.outcome) {
					return false, nil
				}
			}
		}
		if c.tune() {
			in.rest()
			w.Tune(c.tuned.model, c.tuned.rule, c.tuned.burst())
		}
		c.arrivals.of(float64(n), &steps)
		in.second(&steps)
		c.passed++
	}
	in.rest()
	w.Waiting(func(came time.Duration, n float64) { c.tally.count(came, w.Now(), n) })
	c.outcome = before.plus(c.spent(w).minus(from))
	c.outcome.over = before.over + c.tally.all()
	if err := w.Conserved(); err != nil {
		return false, fmt.Errorf("replaying the demand: %w", err)
	}
	return true, nil
}

// tune has the tuning be in force whose time has come, and is true if that is another one.
func (c *course) tune() bool {
	another := false
	for len(c.later) > 0 && c.later[0].from <= c.passed {
		c.tuned, c.later, another = c.later[0], c.later[1:], true
	}
	return another
}

// burst is the bucket's depth as a time of its rate.
func (t tuning) burst() time.Duration { return t.model.Spec.Limit.Burst.Duration }

// world is one that has long had the demand with which seconds begin.
func (c *course) world(seconds []float32) (w *replay.World, load float64, err error) {
	w, err = replay.New(replay.Setup{
		Model: c.tuned.model, Cluster: c.Cluster, Rule: c.tuned.rule, Burst: c.tuned.burst(), Replica: c.known.replica(c.model),
		Start: func() time.Duration {
			return c.known.ColdStarts[c.chance.IntN(len(c.known.ColdStarts))] + c.known.WarmUp
		},
		Timeout: c.timeout(), Fine: c.fine, Entries: entries(c.model), Phases: c.phases,
		Answered: func(came, now time.Duration, n float64) { c.tally.count(came, now, n) },
		Failed:   func(came, now time.Duration, n float64) { c.tally.lose(came, n) },
	})
	if err != nil {
		return nil, 0, err
	}
	first := seconds[:min(begins, len(seconds))]
	for _, n := range first {
		load += float64(n) / float64(len(first))
	}
	// What a replica can serve, it may have had.
	serves := min(c.known.Parallel, c.known.replica(c.model).Concurrency) / c.known.Latency.Seconds()
	value := load
	if !w.ByRate() {
		value *= c.known.Latency.Seconds()
	}
	replicas := w.Wants(value)
	if c.Ready != nil {
		replicas = *c.Ready
	}
	load = math.Min(load, serves*float64(replicas))
	w.Settle(load, replicas)
	return w, load, nil
}

// drawPhases draws a course's: whoever asks can't know them.
func drawPhases(chance *rand.Rand) replay.Phases {
	drawn := func() time.Duration { return time.Duration(chance.IntN(replay.PerSecond)) * replay.Step }
	return replay.Phases{Report: drawn(), Scrape: drawn(), Clock: drawn()}
}

// entries are those of a gateway that forward to a Model: one of plain HTTP or HTTPS unless it is
// private, and the cluster-local one.
func entries(model *v1alpha1.Model) int {
	if model.Labels[networking.VisibilityLabelKey] == serving.VisibilityClusterLocal {
		return 1
	}
	return 2
}

// spent is what a World has come to.
func (c *course) spent(w *replay.World) outcome {
	used, came := w.Usage(), w.Flow()
	return outcome{
		replicaSeconds: used.ReplicaSeconds, readySeconds: used.ReadySeconds,
		offered: came.Offered, refused: came.Offered - came.Admitted, failed: w.Lost(),
		started: float64(used.Started), coldStarts: float64(used.Wakes), peak: float64(used.Peak),
	}
}

// plus is an outcome with what came of another stretch.
func (o outcome) plus(p outcome) outcome {
	o.replicaSeconds += p.replicaSeconds
	o.readySeconds += p.readySeconds
	o.offered += p.offered
	o.refused += p.refused
	o.failed += p.failed
	o.started += p.started
	o.coldStarts += p.coldStarts
	o.peak = math.Max(o.peak, p.peak)
	return o
}

// minus is an outcome without what was before; the most stays.
func (o outcome) minus(p outcome) outcome {
	o.replicaSeconds -= p.replicaSeconds
	o.readySeconds -= p.readySeconds
	o.offered -= p.offered
	o.refused -= p.refused
	o.failed -= p.failed
	o.started -= p.started
	o.coldStarts -= p.coldStarts
	return o
}

// tally tells the seconds of whose requests too many took longer than the goal.
type tally struct {
	goal  Goal
	takes time.Duration
	// lead is when the first second began.
	lead time.Duration
	// slow and came are the requests of each second of which that is known by now.
	slow, came []float32
	// counted seconds have been looked at, of which so many were over.
	counted int
	over    float64
}

func newTally(s *setup, lead time.Duration, seconds int) tally {
	t := tally{goal: s.Goal, takes: s.known.TailLatency, lead: lead}
	if s.Goal.Within > 0 {
		t.slow, t.came = make([]float32, seconds), make([]float32, seconds)
	}
	return t
}

// count takes in requests that waited from when they came until now.
func (t *tally) count(came, now time.Duration, n float64) {
	if i, ok := t.second(came); ok {
		t.came[i] += float32(n)
		if now-came+t.takes > t.goal.Within {
			t.slow[i] += float32(n)
		}
	}
}

// lose takes in requests that were let in and failed.
func (t *tally) lose(came time.Duration, n float64) {
	if i, ok := t.second(came); ok {
		t.came[i] += float32(n)
		t.slow[i] += float32(n)
	}
}

func (t *tally) second(came time.Duration) (int, bool) {
	i := int((came - t.lead) / time.Second)
	return i, came >= t.lead && i < len(t.slow)
}

// until is how many of the first seconds are known to be over: never too many, as what
// is yet to be known of one is slow.
func (t *tally) until(seconds int) float64 {
	for ; t.counted < min(seconds, len(t.slow)); t.counted++ {
		t.over += t.isOver(t.counted)
	}
	return t.over
}

// all is how many seconds are over, once everything is known.
func (t *tally) all() float64 {
	over := 0.
	for i := range t.slow {
		over += t.isOver(i)
	}
	return over
}

func (t *tally) isOver(i int) float64 {
	const rounding = 1e-3 // of a request, which is a matter of sums
	if float64(t.slow[i]) > t.goal.slowShare()*float64(t.came[i])+rounding {
		return 1
	}
	return 0
}

// feed hands steps to a World by its own seconds, which begin somewhere in those of the demand.
type feed struct {
	world *replay.World
	steps replay.Steps
	n     int
}

func (f *feed) second(steps *replay.Steps) {
	for _, n := range steps {
		if f.n == 0 && f.world.Now()%time.Second != 0 {
			f.world.Step(n)
			continue
		}
		f.steps[f.n] = n
		if f.n++; f.n == len(f.steps) {
			f.world.Second(&f.steps)
			f.n = 0
		}
	}
}

// rest hands over what is left.
func (f *feed) rest() {
	for _, n := range f.steps[:f.n] {
		f.world.Step(n)
	}
	f.n = 0
}

package simulation

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// never is the time of what didn't come about before everything stood still.
	never = replay.Never
	// longest is the end of a run that doesn't come to rest.
	longest = 40 * time.Minute
)

// outcome is what came of a run. Times count from the change of the demand.
type outcome struct {
	// same and enough are when as many replicas were ready as the autoscaler wants of
	// its own accord, and as serve the demand.
	same, enough time.Duration
	// ready is how many replicas there are in the end.
	ready int32
	// admitted is the part of the first minute's demand.
	admitted float64
	// lost is how many requests found queues full, and queue the time that the
	// fullest replica or activator needed for what waited.
	lost  float64
	queue time.Duration
}

// simulation is one run.
type simulation struct {
	*replay.World
	corner
	rule    rule
	outcome outcome
}

// newSimulation is a corner with windows and replicas full of the load before the
// change.
func newSimulation(c corner, r rule) (*simulation, error) {
	replica := replay.Replica{Latency: c.latency, Parallel: c.capacity() * c.perReplica * c.latency.Seconds(), Concurrency: math.Inf(1)}
	if n := c.concurrency(); n > 0 {
		replica.Concurrency = float64(n)
	}
	world, err := replay.New(replay.Setup{
		Model: c.model(), Rule: r.Rule, Burst: v1alpha1.DefaultBurst, Replica: replica, Start: func() time.Duration { return c.start },
	})
	if err != nil {
		return nil, err
	}
	if c.before > 0 {
		world.Settle(c.before*c.perReplica, 1)
	}
	return &simulation{World: world, corner: c, rule: r, outcome: outcome{same: never, enough: never}}, nil
}

// step lets a step pass, and looks at what came of it.
func (s *simulation) step() {
	now, o := s.Now(), &s.outcome
	s.Step(s.demand(now) * replay.Step.Seconds())
	o.ready = s.State().Ready
	if now >= s.ramp && o.ready >= s.corner.same() {
		o.same = min(o.same, now)
	}
	if now >= s.ramp && o.ready >= s.corner.enough() {
		o.enough = min(o.enough, now)
	}
	if s.Now()%replay.ObserveEvery != 0 {
		return
	}
	if sum := s.Flow(); s.Now() <= time.Minute {
		o.admitted = sum.Admitted / sum.Offered
	}
	o.lost, o.queue = s.Lost(), max(o.queue, s.Backlog())
}

// rests is true once nothing will change any more: for so long, all that was admitted
// was seen in all windows.
func (s *simulation) rests() bool {
	return s.Now() > s.ramp+time.Minute && s.State().Ready == s.State().Desired &&
		s.Now() > s.Changed()+s.Window()+s.start+2*s.latency+3*replay.TickEvery
}

// run simulates until there is nothing more to learn of starvation.
func run(c corner, r rule) (outcome, error) {
	s, err := newSimulation(c, r)
	if err != nil {
		return outcome{}, err
	}
	for s.Now() < longest && !s.rests() {
		s.step()
		if s.Now() > time.Minute && s.outcome.same != never && s.outcome.enough != never {
			break
		}
	}
	return s.outcome, s.conserved()
}

// conserved is an error if the model makes or loses requests.
func (s *simulation) conserved() error {
	if err := s.Conserved(); err != nil {
		return fmt.Errorf("%v, %s: %w", s.corner, s.rule.name, err)
	}
	return nil
}

// each calls do for every index below n, on all processors.
func each(t *testing.T, n int, do func(int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

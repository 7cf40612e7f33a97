package simulation

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/revision"
)

const (
	// never is the time of what didn't come about before everything stood still.
	never = time.Duration(math.MaxInt64)
	// longest is the end of a run that doesn't come to rest.
	longest = 40 * time.Minute
	// memory is how much of the demand before a look at the gateway's counters is
	// kept, as package limit does.
	memory = .5
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
	corner
	rule     rule
	scaler   *autoscaler
	replicas *replicas
	gateway  *gateway
	outcome  outcome

	now     time.Duration
	state   capacity.Replicas
	changed time.Duration
	// progress is that of replicas that are on their way.
	progress capacity.Progress
	view     view
	// second is what has been since the last whole one; sum all of it.
	second, sum flow
}

// flow is requests: how many came and how many of them were admitted, and for how
// many request-seconds they were in flight.
type flow struct{ offered, admitted, inFlight float64 }

// began is when every simulation does, at a full minute.
var began = time.Unix(2_000_000_040, 0)

// newSimulation is a corner with windows and replicas full of the load before the
// change.
func newSimulation(c corner, r rule) (*simulation, error) {
	scaler, err := newAutoscaler(c.model())
	if err != nil {
		return nil, err
	}
	s := &simulation{
		corner: c, rule: r, scaler: scaler, gateway: &gateway{}, outcome: outcome{same: never, enough: never},
		replicas: &replicas{
			latency: c.latency, start: c.start, concurrency: math.Inf(1), parallel: c.capacity() * c.perReplica * c.latency.Seconds(),
		},
	}
	if n := c.concurrency(); n > 0 {
		s.replicas.concurrency = float64(n)
	}
	s.state = capacity.Replicas{Percent: 100, Max: revision.Max(scaler.pa, scaler.cluster), Initial: revision.FromZero(scaler.pa, scaler.cluster)}
	scaler.want(0)
	if c.before == 0 {
		return s, nil
	}
	load := c.before * c.perReplica
	s.view.offered = load
	s.replicas.fill(load)
	scaler.ready = 1
	scaler.want(1)
	for at := -scaler.window; at <= 0; at += observeEvery {
		scaler.observe(began.Add(at), s.replicas.inFlight(), load)
	}
	scaler.decide(began)
	return s, nil
}

// step lets a step pass.
func (s *simulation) step() {
	s.replicas.place(s.now)
	s.look()
	offered := s.demand(s.now) * step.Seconds()
	admitted := s.gateway.admit(s.now, offered)
	s.wake(admitted)
	s.replicas.activator = s.scaler.activator
	s.replicas.serve(s.now, admitted)
	s.second.offered += offered
	s.second.admitted += admitted
	s.second.inFlight += s.replicas.inFlight() * step.Seconds()

	s.now += step
	if s.now%observeEvery == 0 {
		s.report()
	}
	if (s.now-lag)%observeEvery == 0 && s.rule.floor != nil {
		s.view.now = s.now
		s.scaler.min = s.rule.floor(s.view)
		s.scale(max(s.state.Desired, s.scaler.min))
	}
	if s.now%tickEvery == 0 {
		s.scaler.decide(began.Add(s.now))
		s.scale(*s.scaler.pa.Status.DesiredScale)
	}
}

// look has the limit follow the replicas.
func (s *simulation) look() {
	_, ready := s.replicas.count(s.now)
	s.scaler.ready = ready
	state := s.state
	state.Ready, state.Desired = ready, revision.Desired(s.scaler.pa, ready)
	if !s.rule.hopeful && (s.now%observeEvery == 0 || state != s.state) {
		now := began.Add(s.now)
		s.progress = s.progress.Next(state, now)
		state.Missing, state.Why = s.replicas.starts(s.now).Missing(state, s.progress, now)
	}
	if state != s.state || s.now == 0 {
		s.state, s.changed, s.view.replicas = state, s.now, state
		if s.rule.limit != nil {
			s.gateway.tell(s.now, s.rule.limit(s.view))
		}
	}
	s.outcome.ready = ready
	if s.now < s.ramp {
		return
	}
	if ready >= s.corner.same() {
		s.outcome.same = min(s.outcome.same, s.now)
	}
	if ready >= s.corner.enough() {
		s.outcome.enough = min(s.outcome.enough, s.now)
	}
}

// wake is what the activator does with the first request to no replicas: it tells
// the autoscaler at once (serving pkg/autoscaler/scaling, Poke).
func (s *simulation) wake(admitted float64) {
	if s.state.Desired > 0 || admitted == 0 {
		return
	}
	s.scaler.observe(began.Add(s.now+step), 1, 1)
	s.scaler.decide(began.Add(s.now))
	s.scale(*s.scaler.pa.Status.DesiredScale)
}

// scale sets what is desired.
func (s *simulation) scale(n int32) {
	s.scaler.want(n)
	s.replicas.scale(s.now, *s.scaler.pa.Status.DesiredScale)
}

// report ends a second: the autoscaler and the limiter learn of it.
func (s *simulation) report() {
	last := s.second
	s.second = flow{}
	s.scaler.observe(began.Add(s.now), last.inFlight, last.admitted)
	s.view.offered = memory*s.view.offered + (1-memory)*last.offered
	s.view.refused = last.offered - last.admitted
	if s.rule.fed != nil {
		s.scaler.observe(began.Add(s.now), s.rule.fed(s.view)*s.scaler.target, s.view.refused)
	}
	s.sum.offered += last.offered
	s.sum.admitted += last.admitted
	if s.now <= time.Minute {
		s.outcome.admitted = s.sum.admitted / s.sum.offered
	}
	s.outcome.lost = s.replicas.lost
	s.outcome.queue = max(s.outcome.queue, s.replicas.backlog(s.now))
}

// rests is true once nothing will change any more: for so long, all that was admitted
// was seen in all windows.
func (s *simulation) rests() bool {
	return s.now > s.ramp+time.Minute && s.state.Ready == s.state.Desired &&
		s.now > s.changed+s.scaler.window+s.start+2*s.latency+3*tickEvery
}

// run simulates until there is nothing more to learn of starvation.
func run(c corner, r rule) (outcome, error) {
	s, err := newSimulation(c, r)
	if err != nil {
		return outcome{}, err
	}
	defer s.scaler.close()
	for s.now < longest && !s.rests() {
		s.step()
		if s.now > time.Minute && s.outcome.same != never && s.outcome.enough != never {
			break
		}
	}
	return s.outcome, s.conserved()
}

// conserved is an error if the model makes or loses requests.
func (s *simulation) conserved() error {
	in := s.sum.admitted + s.second.admitted + s.replicas.began
	if out := s.replicas.done + s.replicas.lost + s.replicas.inFlight(); math.Abs(in-out) > 1e-6*(1+in) {
		return fmt.Errorf("%v, %s: of %g requests, %g are accounted for", s.corner, s.rule.name, in, out)
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

package replay

import (
	"math"
	"math/big"
	"time"

	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// memory is how much of the demand before a look at the gateway's counters is
// kept, as package limit does.
const memory = .5

// Setup is a World before anything came.
type Setup struct {
	// Model says how it scales, by its annotations in force.
	Model *v1alpha1.Model
	// Cluster is how Knative scales where the Model doesn't say; nil is as Knative comes.
	Cluster *autoscalerconfig.Config
	Rule    Rule
	// Burst is the bucket's depth as a time of its rate.
	Burst   time.Duration
	Replica Replica
	// Start draws the time from a decision to a warm replica.
	Start func() time.Duration
	// Timeout is how long a request may wait for a replica, 0 for ever.
	Timeout time.Duration
	// Entries are those of the gateway that forward to the Model, of which requests come to the
	// first alone; 0 is 1.
	Entries int
	Phases  Phases
	// Fine has every second pass step by step, and each replica be on its own: what else is
	// done is held to that.
	Fine bool
	// Answered is told of requests on which work begins, Failed of those that found queues
	// full or waited too long: when they came, and now. Both may be nil.
	Answered, Failed func(came, now time.Duration, requests float64)
}

// Phases are when within its second comes what comes each second, from 0 to 1 s. They are as
// old as the parts of Knative that have them, and nothing outside tells of them.
type Phases struct {
	// Report is how long after a tick the autoscaler gets a report, a whole number of steps, and
	// Scrape how long after one it asks the replicas.
	Report, Scrape time.Duration
	// Clock is how far the autoscaler's clock is into its second at a tick.
	Clock time.Duration
}

// Flow is requests: how many came and how many of them were admitted, and for how
// many request-seconds they were in flight.
type Flow struct{ Offered, Admitted, InFlight float64 }

// Usage is what was spent.
type Usage struct {
	// ReplicaSeconds are those of replicas that start or are ready, and not of those that
	// only finish what they have.
	ReplicaSeconds float64
	// ReadySeconds are those of them that are ready.
	ReadySeconds float64
	// Peak is the most of them, Started how many were asked for, and Wakes how often the first
	// was, by a request to none.
	Peak    int32
	Started int
	Wakes   int
}

// World is one run.
type World struct {
	scaler   *autoscaler
	replicas *replicas
	gateway  *gateway
	// sites and division are of the limit, over the gateway's entries.
	sites    []division.Site
	division division.Division
	rule     Rule
	fine     bool

	now   time.Duration
	state capacity.Replicas
	// changed is when the state last did.
	changed time.Duration
	// progress is that of replicas that are on their way.
	progress capacity.Progress
	// short is when there were last as many as were wanted.
	short time.Duration
	view  View
	limit *big.Rat
	floor capacity.Floor
	usage Usage
	// told is true once there is a limit, woke if the autoscaler knows of a request that it has yet to get a report of.
	told, woke bool
	// second is what has been since the last whole one, unreported what the autoscaler doesn't
	// know of, and sum what was before this second.
	second, unreported, sum Flow
}

// New is a World without a replica, and without any demand before.
func New(s Setup) (*World, error) {
	scaler, err := newAutoscaler(s.Model, s.Cluster, s.Phases)
	if err != nil {
		return nil, err
	}
	w := &World{scaler: scaler, rule: s.Rule, fine: s.Fine, gateway: &gateway{burst: s.Burst}, replicas: newReplicas(s.Replica)}
	r := w.replicas
	r.start, r.deadline, r.timeout, r.apart = s.Start, scaler.zeroing.deadline, int(s.Timeout/Step), s.Fine
	if s.Answered != nil {
		r.answered = func(came, at int, n float64) { s.Answered(time.Duration(came)*Step, time.Duration(at)*Step, n) }
	}
	if s.Failed != nil {
		r.failed = func(came, at int, n float64) { s.Failed(time.Duration(came)*Step, time.Duration(at)*Step, n) }
	}
	w.sites = []division.Site{{Places: make([]division.Place, max(1, s.Entries))}}
	for i := range w.sites[0].Places {
		w.sites[0].Places[i].Role = division.Forwarding
	}
	w.state = capacity.Replicas{Percent: 100}
	w.bound()
	return w, nil
}

// bound has the limit go by the revision's bounds.
func (w *World) bound() {
	a := w.scaler
	w.state.Max, w.state.Initial, w.told = revision.Max(a.pa, a.cluster), revision.FromZero(a.pa, a.cluster), false
}

// Tune has another tuning be in force from now on: the Model's annotations, as far as a
// revision that is there takes them up, the rule, and the bucket's depth as a time of its rate.
func (w *World) Tune(model *v1alpha1.Model, rule Rule, burst time.Duration) {
	w.rule = rule
	w.gateway.tune(burst)
	w.scaler.tune(model, w.now)
	w.bound()
	w.scale()
}

// Settle is a World whose windows and replicas have long been full of some load, in
// requests per second, which the replicas can serve. It comes before all else.
func (w *World) Settle(load float64, ready int32) {
	w.view.Offered = load
	if ready <= 0 {
		return
	}
	w.replicas.fill(load, ready)
	a := w.scaler
	a.ready, a.decided, a.applied = ready, ready, ready
	a.way = way{phase: active, since: -a.window, proxied: Never}
	a.want(ready)
	for at := w.scaler.phases.Report - a.window - ObserveEvery; at <= 0; at += ObserveEvery {
		a.observe(at, w.replicas.inFlight(), load)
	}
	// Of the second that a report will be of, this part is over.
	part := (ObserveEvery - a.phases.Report) % ObserveEvery
	w.unreported = Flow{Offered: load * part.Seconds(), Admitted: load * part.Seconds(), InFlight: w.replicas.inFlight() * part.Seconds()}
	a.decide(0)
}

// Step lets a step pass in which some requests come.
func (w *World) Step(requests float64) {
	w.replicas.place(w.now)
	w.look()
	admitted := w.gateway.admit(w.now, requests)
	w.wake(admitted)
	w.replicas.activator = w.scaler.activator
	w.replicas.serve(w.now, admitted)
	came := Flow{Offered: requests, Admitted: admitted, InFlight: w.replicas.inFlight() * Step.Seconds()}
	w.second, w.unreported = w.second.plus(came), w.unreported.plus(came)
	w.spend(Step)

	w.now += Step
	if w.now%ObserveEvery == w.scaler.phases.Report {
		w.report()
	}
	if w.now%ObserveEvery == 0 {
		w.read()
	}
	if (w.now-Lag)%ObserveEvery == 0 && w.rule.Floor != nil {
		w.view.Now = w.now
		if w.floor = w.rule.Floor(w.floor, w.view); w.floor.Replicas != w.scaler.floor {
			w.scaler.floor = w.floor.Replicas
			w.scaler.reconcile(w.now)
			w.scale()
		}
	}
	w.tick()
}

// tick ends a step or a second.
func (w *World) tick() {
	switch {
	case w.now%TickEvery == 0:
		w.scaler.scrape(w.now)
		w.scaler.decide(w.now)
	case w.now%ObserveEvery == 0 && w.scaler.waits():
		w.scaler.reconcile(w.now) // what it waits for may have come
	default:
		return
	}
	w.scale()
}

// scale has as many replicas as are wanted.
func (w *World) scale() { w.replicas.scale(w.now, w.scaler.applied) }

// look has the limit follow the replicas.
func (w *World) look() {
	_, ready := w.replicas.count(w.now)
	w.scaler.ready = ready
	state := w.state
	state.Ready, state.Desired = ready, revision.Desired(w.scaler.pa, ready)
	if !w.rule.Hopeful && (w.now%ObserveEvery == 0 || state != w.state) {
		now := at(w.now)
		w.progress = w.progress.Next(state, now)
		state.Missing, state.Why = 0, capacity.Obstacle{}
		if state.Desired <= state.Ready {
			w.short = w.now
		} else if w.replicas.overdue(w.now) || w.now-w.short >= w.replicas.deadline {
			state.Missing, state.Why = w.missing(state)
		}
	}
	if state == w.state && w.told {
		return
	}
	w.state, w.changed, w.view.Replicas, w.told = state, w.now, state, true
	if w.rule.Limit != nil {
		w.limit = w.rule.Limit(w.view)
		w.view.Limit, _ = w.limit.Float64()
		w.divide()
	}
}

// divide has the entry where requests come have its part of the limit.
func (w *World) divide() {
	if w.limit == nil {
		return
	}
	w.sites[0].Places[0].Demand = w.view.Offered
	w.division = w.division.Next(w.sites, w.view.Limit, at(w.now))
	w.gateway.tell(w.now, w.division.Of(w.limit, 0, 0))
}

// missing is how many replicas can't be expected to come, and why. Of very many, some are
// asked for all: each is compared with each.
func (w *World) missing(state capacity.Replicas) (int32, capacity.Obstacle) {
	const mostAsked = 200
	crowd := 1 + state.Desired/mostAsked
	starts, of := w.replicas.starts(w.now, crowd), state
	if crowd > 1 {
		of.Desired, of.Ready = int32(len(starts.Pods)), 0
		for _, p := range starts.Pods {
			if p.Ready {
				of.Ready++
			}
		}
	}
	n, why := starts.Missing(of, w.progress, at(w.now))
	return min(n*crowd, state.Desired-state.Ready), why
}

// wake is what the activator does with the first request to no replicas: it tells
// the autoscaler at once (serving pkg/autoscaler/scaling, Poke), and in its next report
// leaves out what it told.
func (w *World) wake(admitted float64) {
	if admitted == 0 || !w.scaler.sleeps() {
		return
	}
	if !w.woke {
		w.woke = true
		w.scaler.observe(w.now+Step, 1, 1)
	}
	if all, _ := w.replicas.count(w.now); all == 0 {
		w.usage.Wakes++
	}
	w.scaler.decide(w.now)
	w.scale()
}

// report tells the autoscaler of a second.
func (w *World) report() {
	last := w.unreported
	w.unreported = Flow{}
	concurrency, requests := last.InFlight, last.Admitted
	if w.woke {
		concurrency, requests, w.woke = math.Max(0, concurrency-1), math.Max(0, requests-1), false
	}
	// Without a replica, and without a request, there is nobody to report.
	if w.scaler.ready > 0 && w.scaler.windows.scraped || last.InFlight > nothing || last.Admitted > nothing {
		w.scaler.observe(w.now, concurrency, requests)
	}
}

// read ends a second: the limiter learns of it.
func (w *World) read() {
	last := w.second
	w.second = Flow{}
	kept := memory
	if w.rule.HalfLife > ObserveEvery {
		kept = math.Pow(memory, ObserveEvery.Seconds()/w.rule.HalfLife.Seconds())
	}
	w.view.Offered = kept*w.view.Offered + (1-kept)*last.Offered
	w.view.Refused = last.Offered - last.Admitted
	if w.rule.Fed != nil {
		w.scaler.observe(w.now, w.rule.Fed(w.view)*w.scaler.target, w.view.Refused)
	}
	w.divide()
	w.sum = w.sum.plus(last)
	w.replicas.gather(w.now)
}

// plus is both together.
func (f Flow) plus(g Flow) Flow {
	return Flow{Offered: f.Offered + g.Offered, Admitted: f.Admitted + g.Admitted, InFlight: f.InFlight + g.InFlight}
}

func (w *World) spend(d time.Duration) {
	all, ready := w.replicas.count(w.now)
	w.usage.ReplicaSeconds += float64(all) * d.Seconds()
	w.usage.ReadySeconds += float64(ready) * d.Seconds()
	w.usage.Peak = max(w.usage.Peak, all)
}

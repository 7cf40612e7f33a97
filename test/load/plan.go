package load

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Bounds end a run whatever happens. Each must be given: there is no load without
// an end.
type Bounds struct {
	// Requests is the most that a run may offer.
	Requests int
	// Duration is the longest that a run may take, the last answers included; a
	// request still in flight by then counts as errored.
	Duration time.Duration
	// InFlight is the most requests without an answer; one that is due beyond it
	// is dropped, and never waits on the client's side.
	InFlight int
}

// Plan is a run to be.
type Plan struct {
	Target   Target
	Schedule Schedule
	Bounds   Bounds
	// Lanes is how many pools of connections take turns, 1 by default. A pool
	// prefers the connection it used last, so at low concurrency one lane is one
	// connection, which a Service ties to one gateway pod; as many lanes as give
	// each pod its share make the load even.
	Lanes int
	// Connections are the kinds that the lanes take turns in, so that each gets an
	// equal share of the requests; all keep alive by default. There is at least one
	// lane of each kind.
	Connections []Connection
	// RequestTimeout bounds one request; 30 s by default.
	RequestTimeout time.Duration
	// IdleTimeout is how long a connection is kept without a request, 30 s by
	// default. It should be shorter than the server's: over HTTP/1.1 a request may
	// otherwise be on its way while the server closes.
	IdleTimeout time.Duration
	// Stop, if given, ends the schedule early when it is closed. What is in flight
	// then still gets its answer.
	Stop <-chan struct{}
	// EachSecond, if given, is called at every second's end, one call at a time.
	EachSecond func(Second)
	// EachAnswer, if given, is called with each answer when it is there, or when it is
	// known that there will be none. Calls may overlap.
	EachAnswer func(Answer)
}

// Answer is what became of one request.
type Answer struct {
	// Due is when the request was to be sent, Latency how long after that the answer
	// was there.
	Due     time.Time
	Latency time.Duration
	// Status of the answer, 0 where there is none, and its headers.
	Status int
	Header http.Header
}

// Validate refuses a plan that isn't bounded, or whose target isn't loopback.
func (p Plan) Validate() error {
	if err := p.Target.validate(); err != nil {
		return err
	}
	if err := p.Schedule.Validate(); err != nil {
		return err
	}
	if p.Bounds.Requests <= 0 || p.Bounds.Duration <= 0 || p.Bounds.InFlight <= 0 {
		return fmt.Errorf("bounds: %+v, want each more than 0", p.Bounds)
	}
	if n := p.Schedule.Requests(); n > p.Bounds.Requests {
		return fmt.Errorf("schedule: %d requests, more than the bound of %d", n, p.Bounds.Requests)
	}
	if d := p.Schedule.Duration(); d > p.Bounds.Duration {
		return fmt.Errorf("schedule: lasts %v, more than the bound of %v", d, p.Bounds.Duration)
	}
	return nil
}

// Run offers the schedule's requests and returns what became of them. It returns
// when every request has its answer, at the latest when the bounds or ctx end it.
// An error means that nothing was sent.
func (p Plan) Run(ctx context.Context) (*Report, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	template, err := p.Target.request()
	if err != nil {
		return nil, err
	}
	if len(p.Connections) == 0 {
		p.Connections = []Connection{KeepAlive}
	}
	p.Lanes = max(len(p.Connections), p.Lanes)
	if p.RequestTimeout <= 0 {
		p.RequestTimeout = 30 * time.Second
	}
	if p.IdleTimeout <= 0 {
		p.IdleTimeout = 30 * time.Second
	}
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, start.Add(p.Bounds.Duration))
	defer cancel()

	r := &run{plan: p, template: template, start: start, tally: newTally(start), due: make(chan job)}
	for i := range p.Lanes {
		l := p.Target.lane(p.Connections[i%len(p.Connections)], max(2, p.Bounds.InFlight/p.Lanes))
		l.pool.IdleConnTimeout = p.IdleTimeout
		r.lanes = append(r.lanes, l)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		r.dispatch(ctx)
		r.workers.Wait()
	}()
	r.eachSecond(answered)
	for _, l := range r.lanes {
		l.pool.CloseIdleConnections()
	}
	return r.tally.end(), nil
}

// job is a request that is due.
type job struct {
	at   time.Time
	lane lane
}

// run is a plan under way.
type run struct {
	plan     Plan
	template *http.Request
	start    time.Time
	tally    *tally
	lanes    []lane
	due      chan job
	workers  sync.WaitGroup
}

// dispatch hands each request to a worker when it is due. Its clock is absolute:
// after a pause of the machine it catches up, and the lateness counts as latency.
func (r *run) dispatch(ctx context.Context) {
	defer close(r.due)
	timer := time.NewTimer(0)
	defer timer.Stop()
	n, workers := 0, 0
	for due := range r.plan.Schedule.Arrivals() {
		at := r.start.Add(due)
		if !r.wait(ctx, timer, at) {
			return
		}
		next := job{at: at, lane: r.lanes[n%len(r.lanes)]}
		n++
		r.tally.offer(next.lane.connection)
		select {
		case r.due <- next:
		default: // no worker is idle
			if workers == r.plan.Bounds.InFlight {
				r.tally.drop(next.lane.connection)
				continue
			}
			workers++
			r.workers.Go(func() { r.work(ctx, next) })
		}
	}
}

// wait waits until a request is due; false means that no more are to be sent.
func (r *run) wait(ctx context.Context, timer *time.Timer, at time.Time) bool {
	if left := time.Until(at); left > 0 {
		timer.Reset(left)
		select {
		case <-timer.C:
		case <-r.plan.Stop:
		case <-ctx.Done():
		}
	}
	select {
	case <-r.plan.Stop:
		return false
	default:
		return ctx.Err() == nil
	}
}

// work sends its first request and then those it is handed. Workers are kept, not
// made for each request, because a goroutine's stack grows anew in each of them.
func (r *run) work(ctx context.Context, first job) {
	r.send(ctx, first)
	for next := range r.due {
		r.send(ctx, next)
	}
}

func (r *run) send(ctx context.Context, j job) {
	ctx, cancel := context.WithTimeout(ctx, r.plan.RequestTimeout)
	defer cancel()
	sent := time.Now()
	got := j.lane.send(ctx, r.template, r.plan.Target.Body)
	got.sent, got.answered = sent, time.Now()
	got.latency = got.answered.Sub(j.at)
	if r.plan.EachAnswer != nil {
		r.plan.EachAnswer(Answer{Due: j.at, Latency: got.latency, Status: got.status, Header: got.header})
	}
	r.tally.done(got)
}

// eachSecond ends every second on time until all requests are answered, and then
// the last one.
func (r *run) eachSecond(answered <-chan struct{}) {
	for end := r.start.Add(time.Second); ; end = end.Add(time.Second) {
		last := false
		select {
		case <-time.After(time.Until(end)):
		case <-answered:
			last = true
		}
		ended := r.tally.next()
		if r.plan.EachSecond != nil {
			r.plan.EachSecond(ended)
		}
		if last {
			return
		}
	}
}

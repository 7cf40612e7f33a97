package replay

import (
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
)

const (
	// Step is the simulation's unit of time. Requests flow: there are fractions of them.
	Step = 50 * time.Millisecond
	// PerSecond is how many of them a second has.
	PerSecond = int(time.Second / Step)
	// Never is the time of what doesn't come about.
	Never = time.Duration(math.MaxInt64)
)

// Steps are the requests of each step of a second.
type Steps [PerSecond]float64

const (
	// activatorQueue is how many requests an activator holds for a revision
	// (serving pkg/activator/net, breakerQueueDepth).
	activatorQueue = 10000
	// proxyQueue is how many requests a queue-proxy holds besides those that it lets
	// through, in multiples of containerConcurrency (serving pkg/queue/sharedmain,
	// buildBreaker).
	proxyQueue = 10
	// leastUnplaced and leastStarting are how long a replica is expected in any case, without
	// a node and with one (functions/limit/capacity, Starts).
	leastUnplaced = 30 * time.Second
	leastStarting = 2 * time.Minute
	// mostDraws bounds the starts that are drawn for replicas that are asked for at once;
	// of more, several take the same time.
	mostDraws = 16
)

// Replica is what one is like.
type Replica struct {
	// Latency is how long it works on a request.
	Latency time.Duration
	// Parallel is how many requests it really works on at once, and Concurrency what
	// containerConcurrency lets through to it; +Inf for any number.
	Parallel, Concurrency float64
}

// replicas serve one revision; the queues before them are theirs too.
type replicas struct {
	Replica
	// steps a request takes, and the part of them that it really works.
	steps  int
	weight float64
	// start draws the time from a decision to a warm replica.
	start func() time.Duration
	// room is for so many of them, 0 for any number: more wait for a node.
	room int32
	// deadline is Knative's for a start.
	deadline time.Duration
	// timeout is how many steps a request may wait, 0 for any number.
	timeout int
	// activator is true while it is in the path of every request.
	activator bool
	// apart is true if those in the same state aren't taken together.
	apart bool
	// answered is told of requests on which work begins, failed of those that found queues
	// full or waited too long: when they came, and now, in steps.
	answered, failed func(came, at int, n float64)

	// cohorts, oldest first; those that leave finish what they have.
	cohorts, leaving []*cohort
	// held waits at the activator. Lost failed, done were answered, and began were there in
	// the beginning.
	held              line
	lost, done, began float64
	// started is how many replicas were asked for.
	started int
	// parts are each cohort's of what the activator passes on.
	parts []float64
}

func newReplicas(r Replica) *replicas {
	steps := max(1, int((r.Latency+Step-1)/Step))
	return &replicas{
		Replica: r, steps: steps, weight: r.Latency.Seconds() / (float64(steps) * Step.Seconds()),
		answered: func(int, int, float64) {}, failed: func(int, int, float64) {},
	}
}

// all yields every cohort, those that leave too.
func (r *replicas) all(yield func(*cohort) bool) {
	for _, c := range r.cohorts {
		if !yield(c) {
			return
		}
	}
	for _, c := range r.leaving {
		if !yield(c) {
			return
		}
	}
}

// count is how many replicas there are, and how many of them are ready.
func (r *replicas) count(now time.Duration) (all, ready int32) {
	for _, c := range r.cohorts {
		all += int32(math.Round(c.pods))
		if c.readyAt <= now {
			ready += int32(math.Round(c.pods))
		}
	}
	return all, ready
}

// inFlight is what activator and queue-proxies together count.
func (r *replicas) inFlight() float64 {
	sum := r.held.n
	for c := range r.all {
		sum += c.waiting.n + c.working*r.weight
	}
	return sum
}

// inside is how many requests there are.
func (r *replicas) inside() float64 {
	sum := r.held.n
	for c := range r.all {
		sum += c.waiting.n + c.working
	}
	return sum
}

// backlog is the time that the fullest replica, or the activator, needs for what
// waits there.
func (r *replicas) backlog(now time.Duration) time.Duration {
	_, ready := r.count(now)
	seconds := 0.
	if r.held.n > 0 && ready > 0 {
		seconds = r.held.n / float64(ready)
	}
	for _, c := range r.cohorts {
		seconds = math.Max(seconds, c.waiting.n/c.pods)
	}
	return time.Duration(seconds / r.slots() * float64(r.Latency))
}

// slots is how many requests a replica works on at once.
func (r *replicas) slots() float64 { return math.Min(r.Parallel, r.Concurrency) }

// fill gives the revision replicas that have long had some load, which they can
// serve, in requests per second.
func (r *replicas) fill(load float64, pods int32) {
	c := newCohort(float64(pods), math.MinInt64, 0, r.steps)
	c.births[0].placed, c.births[0].readyAt = math.MinInt64, math.MinInt64
	c.placed, c.readyAt = math.MinInt64, math.MinInt64
	for i := range c.begun {
		c.begun[i] = load * Step.Seconds()
		c.working += c.begun[i]
	}
	r.began = c.working
	r.cohorts = append(r.cohorts, c)
}

// place starts replicas that waited for a node, as far as there is room, oldest first.
func (r *replicas) place(now time.Duration) {
	room := math.Inf(1)
	if r.room > 0 {
		room = float64(r.room)
	}
	for i := 0; i < len(r.cohorts); i++ {
		c := r.cohorts[i]
		switch {
		case c.placed != Never:
		case room >= c.pods:
			c.place(now)
		case room > 0:
			r.cohorts = slices.Insert(r.cohorts, i, c.split(room))
			c = r.cohorts[i]
			c.place(now)
		default:
			continue
		}
		room -= c.pods
	}
}

// overdue is true if one may be given up: until then, asking all of them costs time for nothing.
func (r *replicas) overdue(now time.Duration) bool {
	for _, c := range r.cohorts {
		switch {
		case c.readyAt <= now:
		case c.placed == Never && now-c.births[0].made >= min(leastUnplaced, r.deadline), c.placed != Never && now-c.placed >= min(leastStarting, r.deadline):
			return true
		}
	}
	return false
}

// starts is what the pods say of themselves, one for so many that came about together.
func (r *replicas) starts(now time.Duration, crowd int32) capacity.Starts {
	s := capacity.Starts{Deadline: r.deadline}
	for _, c := range r.cohorts {
		for _, b := range c.births {
			p := capacity.Pod{Made: at(b.made)}
			switch {
			case b.readyAt <= now:
				p.Scheduled, p.Since, p.Ready = at(b.placed), at(b.readyAt), true
			case b.placed <= now:
				p.Scheduled = at(b.placed)
			default:
				p.Obstacle = &capacity.Obstacle{Reason: "Unschedulable", Since: p.Made}
			}
			for range int(math.Ceil(math.Round(b.pods) / float64(crowd))) {
				s.Pods = append(s.Pods, p)
			}
		}
	}
	return s
}

// scale starts replicas, or lets go of the youngest.
func (r *replicas) scale(now time.Duration, want int32) {
	all, _ := r.count(now)
	if want > all {
		r.add(now, want-all)
		r.place(now)
	}
	for surplus := float64(all - want); surplus > 0; {
		last := r.cohorts[len(r.cohorts)-1]
		gone := min(surplus, last.pods)
		r.leaving = append(r.leaving, last.split(gone))
		if last.pods == 0 {
			r.cohorts = r.cohorts[:len(r.cohorts)-1]
		}
		surplus -= gone
	}
}

// add asks for replicas: those that will take the same time together.
func (r *replicas) add(now time.Duration, n int32) {
	r.started += int(n)
	draws := min(n, mostDraws)
	byStart, order := map[time.Duration]int32{}, []time.Duration(nil)
	upTo := func(i int32) int32 { return int32(int64(i) * int64(n) / int64(draws)) }
	for i := range draws {
		start := r.start()
		if byStart[start] == 0 {
			order = append(order, start)
		}
		byStart[start] += upTo(i+1) - upTo(i)
	}
	slices.Sort(order)
	for _, start := range order {
		r.cohorts = append(r.cohorts, newCohort(float64(byStart[start]), now, start, r.steps))
	}
}

// serve lets a step pass in which requests come in, through the activator where it
// is in the path or nobody else is there.
func (r *replicas) serve(now time.Duration, requests float64) {
	at := int(now / Step)
	for c := range r.all {
		r.done += c.finish(at)
	}
	_, ready := r.count(now)
	if r.activator || ready == 0 {
		r.held.push(at, requests)
		requests = 0
	}
	r.release(now, float64(ready))
	lose := func(came int, n float64) {
		r.lost += n
		r.failed(came, at, n)
	}
	for _, c := range r.cohorts {
		if c.readyAt <= now {
			c.waiting.push(at, requests*c.pods/float64(ready))
			over := c.waiting.n + c.working*r.weight - (1+proxyQueue)*r.Concurrency*c.pods
			c.waiting.drop(over, lose)
		}
	}
	r.held.drop(r.held.n-activatorQueue, lose)
	begin := func(came int, n float64) { r.answered(came, at, n) }
	for c := range r.all {
		c.begin(at, r.slots()*c.pods/r.weight, begin)
	}
	if r.timeout > 0 {
		r.held.expire(at-r.timeout, lose)
		for c := range r.all {
			c.waiting.expire(at-r.timeout, lose)
		}
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(c *cohort) bool { return c.waiting.n+c.working < nothing })
}

// release lets the activator pass on what it holds, to replicas with room for it.
func (r *replicas) release(now time.Duration, ready float64) {
	if ready == 0 || r.held.n == 0 {
		return
	}
	held := r.held.n
	room := func(c *cohort) float64 {
		if math.IsInf(r.Concurrency, 1) {
			return held * c.pods / ready
		}
		return math.Max(0, r.Concurrency*c.pods/r.weight-c.waiting.n-c.working)
	}
	free := 0.
	for _, c := range r.cohorts {
		if c.readyAt <= now {
			free += room(c)
		}
	}
	if free == 0 {
		return
	}
	// Each gets its part of every batch, and so of those that waited longest.
	passed := math.Min(held, free)
	r.parts = r.parts[:0]
	for _, c := range r.cohorts {
		part := 0.
		if c.readyAt <= now {
			part = room(c) / free
		}
		r.parts = append(r.parts, part)
	}
	r.held.take(passed, func(came int, n float64) {
		for i, c := range r.cohorts {
			c.waiting.push(came, n*r.parts[i])
		}
	})
}

package simulation

import (
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
)

// step is the simulation's unit of time. Requests flow: there are fractions of them.
const step = 50 * time.Millisecond

const (
	// activatorQueue is how many requests an activator holds for a revision
	// (serving pkg/activator/net, breakerQueueDepth).
	activatorQueue = 10000
	// proxyQueue is how many requests a queue-proxy holds besides those that it lets
	// through, in multiples of containerConcurrency (serving pkg/queue/sharedmain,
	// buildBreaker).
	proxyQueue = 10
	// deadline is Knative's for a start.
	deadline = 10 * time.Minute
)

// replicas serve one revision; the queues before them are theirs too.
type replicas struct {
	// latency is how long a replica works on a request, at least one step.
	latency time.Duration
	// parallel is how many requests a replica really works on at once, and
	// concurrency what containerConcurrency lets through to it; +Inf for any number.
	parallel, concurrency float64
	// start is the time from a decision to a warm replica.
	start time.Duration
	// room is for so many of them, 0 for any number: more wait for a node.
	room int32
	// activator is true while it is in the path of every request.
	activator bool

	// cohorts are replicas of equal age, oldest first; those that leave finish what
	// they have.
	cohorts, leaving []*cohort
	// held waits at the activator. Lost found the queues full, done were answered, and
	// began were there in the beginning.
	held, lost, done, began float64
}

// cohort is replicas that started together, and so are all in the same state.
type cohort struct {
	pods float64
	// made is when they were asked for, placed when they found room: never, for now.
	made, placed, readyAt time.Duration
	// waiting are at queue-proxy or in the container's own queue.
	waiting, working float64
	// begun is what work began on in each of the last steps, a ring.
	begun []float64
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
		all += int32(c.pods)
		if c.readyAt <= now {
			ready += int32(c.pods)
		}
	}
	return all, ready
}

// inFlight is what activator and queue-proxies together count.
func (r *replicas) inFlight() float64 {
	sum := r.held
	for c := range r.all {
		sum += c.waiting + c.working
	}
	return sum
}

// backlog is the time that the fullest replica, or the activator, needs for what
// waits there.
func (r *replicas) backlog(now time.Duration) time.Duration {
	_, ready := r.count(now)
	seconds := 0.
	if r.held > 0 && ready > 0 {
		seconds = r.held / float64(ready)
	}
	for _, c := range r.cohorts {
		seconds = math.Max(seconds, c.waiting/c.pods)
	}
	return time.Duration(seconds / r.slots() * float64(r.latency))
}

// slots is how many requests a replica works on at once.
func (r *replicas) slots() float64 { return math.Min(r.parallel, r.concurrency) }

// fill gives the revision one replica that has long had some load, which it can
// serve, in requests per second.
func (r *replicas) fill(load float64) {
	c := r.newCohort(1, math.MinInt64)
	c.placed, c.readyAt = c.made, c.made
	for i := range c.begun {
		c.begun[i] = load * step.Seconds()
		c.working += c.begun[i]
	}
	r.began = c.working
	r.cohorts = append(r.cohorts, c)
}

func (r *replicas) newCohort(pods float64, made time.Duration) *cohort {
	return &cohort{pods: pods, made: made, placed: never, readyAt: never, begun: make([]float64, max(1, r.latency/step))}
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
		case c.placed != never:
		case room >= c.pods:
			c.placed, c.readyAt = now, now+r.start
		case room > 0:
			r.cohorts = slices.Insert(r.cohorts, i, c.split(room))
			c = r.cohorts[i]
			c.placed, c.readyAt = now, now+r.start
		default:
			continue
		}
		room -= c.pods
	}
}

// starts is what the pods say of themselves.
func (r *replicas) starts(now time.Duration) capacity.Starts {
	s := capacity.Starts{Deadline: deadline}
	for _, c := range r.cohorts {
		p := capacity.Pod{Made: began.Add(c.made)}
		switch {
		case c.readyAt <= now:
			p.Scheduled, p.Since, p.Ready = began.Add(c.placed), began.Add(c.readyAt), true
		case c.placed <= now:
			p.Scheduled = began.Add(c.placed)
		default:
			p.Obstacle = &capacity.Obstacle{Reason: "Unschedulable", Since: p.Made}
		}
		for range int(c.pods) {
			s.Pods = append(s.Pods, p)
		}
	}
	return s
}

// scale starts replicas, or lets go of the youngest.
func (r *replicas) scale(now time.Duration, want int32) {
	all, _ := r.count(now)
	if want > all {
		r.cohorts = append(r.cohorts, r.newCohort(float64(want-all), now))
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

// split takes some of a cohort's pods out of it, with what they have.
func (c *cohort) split(pods float64) *cohort {
	part := pods / c.pods
	out := &cohort{pods: pods, made: c.made, placed: c.placed, readyAt: c.readyAt, waiting: c.waiting * part, working: c.working * part, begun: make([]float64, len(c.begun))}
	for i, v := range c.begun {
		out.begun[i], c.begun[i] = v*part, v*(1-part)
	}
	c.pods, c.waiting, c.working = c.pods-out.pods, c.waiting-out.waiting, c.working-out.working
	return out
}

// serve lets a step pass in which requests come in, through the activator where it
// is in the path or nobody else is there.
func (r *replicas) serve(now time.Duration, requests float64) {
	at := int(now / step)
	for c := range r.all {
		r.done += c.finish(at)
	}
	_, ready := r.count(now)
	if r.activator || ready == 0 {
		r.held, requests = r.held+requests, 0
	}
	r.release(now, float64(ready))
	for _, c := range r.cohorts {
		if c.readyAt <= now {
			c.waiting += requests * c.pods / float64(ready)
			r.lost += c.spill((1 + proxyQueue) * r.concurrency)
		}
	}
	over := math.Max(0, r.held-activatorQueue)
	r.held, r.lost = r.held-over, r.lost+over

	for c := range r.all {
		c.begin(at, r.slots()*c.pods)
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(c *cohort) bool { return c.waiting+c.working < 1e-9 })
}

// release lets the activator pass on what it holds, to replicas with room for it.
func (r *replicas) release(now time.Duration, ready float64) {
	if ready == 0 || r.held == 0 {
		return
	}
	room := func(c *cohort) float64 {
		if math.IsInf(r.concurrency, 1) {
			return r.held * c.pods / ready
		}
		return math.Max(0, r.concurrency*c.pods-c.waiting-c.working)
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
	passed := math.Min(r.held, free)
	for _, c := range r.cohorts {
		if c.readyAt <= now {
			c.waiting += passed * room(c) / free
		}
	}
	r.held -= passed
}

// spill drops what is more than most for each pod.
func (c *cohort) spill(most float64) float64 {
	over := math.Max(0, c.waiting+c.working-most*c.pods)
	over = math.Min(over, c.waiting)
	c.waiting -= over
	return over
}

func (c *cohort) finish(at int) float64 {
	done := c.begun[at%len(c.begun)]
	c.working -= done
	c.begun[at%len(c.begun)] = 0
	return done
}

func (c *cohort) begin(at int, slots float64) {
	begun := math.Min(c.waiting, math.Max(0, slots-c.working))
	c.waiting, c.working = c.waiting-begun, c.working+begun
	c.begun[at%len(c.begun)] = begun
}

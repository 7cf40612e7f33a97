package replay

import (
	"math"
	"time"
)

// cohort is replicas that are all in the same state.
type cohort struct {
	// births of its pods, the oldest first.
	births []birth
	pods   float64
	// placed and readyAt are those of the youngest.
	placed, readyAt time.Duration
	// waiting are at queue-proxy or in the container's own queue.
	waiting line
	working float64
	// begun is what work began on in each of the last steps, a ring.
	begun []float64
	// busy is the last step in which something had to wait.
	busy int
}

// birth is how some replicas came about.
type birth struct {
	pods float64
	// made is when they were asked for, placed when they found room: never, for now. Start
	// is how long they take from there to be ready.
	made, placed, readyAt, start time.Duration
}

func newCohort(pods float64, made, start time.Duration, steps int) *cohort {
	return &cohort{
		births: []birth{{pods: pods, made: made, placed: Never, readyAt: Never, start: start}},
		pods:   pods, placed: Never, readyAt: Never, begun: make([]float64, steps), busy: math.MinInt / 2,
	}
}

// place gives a cohort that was born at once its nodes.
func (c *cohort) place(now time.Duration) {
	b := &c.births[0]
	b.placed, b.readyAt = now, now+b.start
	c.placed, c.readyAt = b.placed, b.readyAt
}

// split takes the youngest of a cohort's pods out of it, with what they have.
func (c *cohort) split(pods float64) *cohort {
	part := pods / c.pods
	out := &cohort{
		pods: pods, placed: c.placed, readyAt: c.readyAt, waiting: c.waiting.split(part), working: c.working * part,
		begun: make([]float64, len(c.begun)), busy: c.busy,
	}
	for i, v := range c.begun {
		out.begun[i], c.begun[i] = v*part, v*(1-part)
	}
	c.pods, c.working = c.pods-pods, c.working-out.working
	for pods > 0 && len(c.births) > 0 {
		last := &c.births[len(c.births)-1]
		gone := min(pods, last.pods)
		born := *last
		born.pods = gone
		out.births = append([]birth{born}, out.births...)
		if last.pods, pods = last.pods-gone, pods-gone; last.pods == 0 {
			c.births = c.births[:len(c.births)-1]
		}
	}
	if len(c.births) > 0 {
		last := c.births[len(c.births)-1]
		c.placed, c.readyAt = last.placed, last.readyAt
	}
	return out
}

// join takes in a younger cohort that is in the same state.
func (c *cohort) join(d *cohort) {
	c.births = append(c.births, d.births...)
	c.pods, c.working, c.placed, c.readyAt = c.pods+d.pods, c.working+d.working, d.placed, d.readyAt
	for i, v := range d.begun {
		c.begun[i] += v
	}
}

// settled is true of replicas of which nothing tells any more when they started: they have
// been ready, and nothing had to wait at them, for as long as a request takes.
func (c *cohort) settled(at int) bool {
	took := len(c.begun) + 1
	return c.readyAt <= time.Duration(at-took)*Step && c.busy < at-took && c.waiting.n == 0
}

func (c *cohort) finish(at int) float64 {
	done := c.begun[at%len(c.begun)]
	c.working -= done
	c.begun[at%len(c.begun)] = 0
	return done
}

// begin has work begin on what waits, as far as there are slots for it.
func (c *cohort) begin(at int, slots float64, on func(came int, n float64)) {
	begun := math.Min(c.waiting.n, math.Max(0, slots-c.working))
	c.waiting.take(begun, on)
	if c.waiting.n > nothing {
		c.busy = at
	}
	c.working += begun
	c.begun[at%len(c.begun)] = begun
}

// beginAll lets a second of steps pass if work can begin on all that comes in the step in
// which it comes; otherwise it changes nothing. It returns the request-steps of work, of some
// first steps and of all.
func (c *cohort) beginAll(at int, slots, part float64, requests *Steps, first int) (early, all float64, ok bool) {
	working, size := c.working, len(c.begun)
	for i, n := range requests {
		if i < size {
			working -= c.begun[(at+i)%size]
		} else {
			working -= requests[i-size] * part
		}
		if working += n * part; working > slots+nothing {
			return 0, 0, false
		}
		if all += working; i < first {
			early = all
		}
	}
	return early, all, true
}

// pass lets that second pass, and returns what was done in it.
func (c *cohort) pass(at int, part float64, requests *Steps) (done float64) {
	size := len(c.begun)
	for i, n := range requests {
		done += c.begun[(at+i)%size]
		c.working -= c.begun[(at+i)%size]
		c.working += n * part
		c.begun[(at+i)%size] = n * part
	}
	return done
}

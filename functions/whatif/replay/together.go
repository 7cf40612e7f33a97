package replay

import (
	"math"
	"slices"
	"time"
)

// gather takes those together that are in the same state.
func (r *replicas) gather(now time.Duration) {
	if r.apart || len(r.cohorts) < 2 {
		return
	}
	at := int(now / Step)
	kept := r.cohorts[:1]
	for _, c := range r.cohorts[1:] {
		if last := kept[len(kept)-1]; last.settled(at) && c.settled(at) {
			last.join(c)
			continue
		}
		kept = append(kept, c)
	}
	clear(r.cohorts[len(kept):])
	r.cohorts = kept
}

// passAll lets a second of steps pass if nothing waits, no replica becomes ready meanwhile,
// and work can begin on all that comes in the step in which it comes; otherwise it changes
// nothing. It returns the request-seconds in flight, of some first steps and of all.
func (r *replicas) passAll(now time.Duration, requests *Steps, total float64, first int) (early, all float64, ok bool) {
	_, ready := r.count(now)
	if r.held.n > 0 || total > 0 && ready == 0 || r.dealsUnevenly(now) && total > 0 {
		return 0, 0, false
	}
	for c := range r.all {
		if c.waiting.n > 0 || c.readyAt > now && c.readyAt < now+time.Second {
			return 0, 0, false
		}
	}
	at := int(now / Step)
	part := func(i int, c *cohort) float64 {
		if i >= len(r.cohorts) || c.readyAt > now {
			return 0
		}
		return c.pods / float64(ready)
	}
	i := 0
	for c := range r.all {
		of, work, ok := c.beginAll(at, r.slots()*c.pods/r.weight, part(i, c), requests, first)
		if !ok {
			return 0, 0, false
		}
		early += of
		all += work
		i++
	}
	i = 0
	for c := range r.all {
		r.done += c.pass(at, part(i, c), requests)
		i++
	}
	if total > 0 {
		for j, n := range requests {
			if n > 0 {
				r.answered(at+j, at+j, n)
			}
		}
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(c *cohort) bool { return c.waiting.n+c.working < nothing })
	weight := r.weight * Step.Seconds()
	return early * weight, all * weight, true
}

// dealsUnevenly is true while requests go where there is room, and not to all alike: the
// activator deals so where replicas take only so many.
func (r *replicas) dealsUnevenly(now time.Duration) bool {
	if !r.activator || math.IsInf(r.Concurrency, 1) {
		return false
	}
	ready := 0
	for _, c := range r.cohorts {
		if c.readyAt <= now {
			ready++
		}
	}
	return ready > 1
}

package pace

import (
	"math"
	"time"
)

const (
	// tolerance is how much longer than at best answers may take, before too many requests
	// are under way: as long again in a queue.
	tolerance = 2.0
	// leastCut is the most that a round takes of the bound: half.
	leastCut = 0.5
	// probeEvery is after how many rounds one has a part of the requests under way, to see
	// how long answers take at best. With half as many none might wait, with a quarter none do.
	probeEvery, probePart = 40, 4
	// rise is by how much of itself the best may become worse at a time.
	rise = 1.25
	// alike is from which part of itself on a mean is as long as before.
	alike = 0.9
	// leastRound is how many answers a round has, at least: of fewer, the mean says little.
	leastRound = 16
)

// Answer is one that came.
type Answer struct {
	// Took is the time from sending the request.
	Took time.Duration
	// InFlight is how many requests were under way when it was sent, that one too.
	InFlight int
	// Overloaded is true if there was no answer in time, or one that says so: 503.
	Overloaded bool
}

// Bound is how many requests may be under way. As in Netflix' gradient, it shrinks by as
// much as answers take longer than they may, compared with the best, and otherwise grows by
// its root. Until it has to shrink for the first time it doubles. What is best is looked for
// time and again with less under way, as BBR does: an average would take a queue that is
// always there for the Model's own time. A round is about as many answers as may be under way.
type Bound struct {
	limit, most float64
	// best is the mean of a round in which nothing waited, in seconds; 0 before the first.
	best float64
	// shrunk is true once it had to; from is the mean for which it halved in the last round.
	shrunk bool
	from   float64
	// rounds since the last probe; probing is true in one.
	rounds  int
	probing bool
	round   round
}

type round struct {
	answers, overloaded, inFlight int
	seconds                       float64
}

// New is a bound that begins at first and is never above most.
func New(first, most int) Bound {
	return Bound{limit: float64(max(1, min(first, most))), most: float64(max(1, most))}
}

// Limit is how many requests may be under way: one at least.
func (b Bound) Limit() int {
	if b.probing {
		return max(1, int(b.limit/probePart))
	}
	return int(b.limit)
}

// Bearable is how long answers may take, in seconds, before too many requests are under way; 0
// while that isn't known.
func (b Bound) Bearable() float64 { return tolerance * b.best }

// Next is the bound after an answer. Those to requests that were sent when more were under
// way than may be now tell of what has been done about already.
func (b Bound) Next(a Answer) Bound {
	if a.InFlight > b.Limit() {
		return b
	}
	b.round.inFlight = max(b.round.inFlight, a.InFlight)
	b.round.answers++
	b.round.seconds += a.Took.Seconds()
	if a.Overloaded {
		b.round.overloaded++
	}
	if b.round.answers < max(leastRound, b.Limit()) {
		return b
	}
	return b.end()
}

// end is the bound after a round.
func (b Bound) end() Bound {
	r, probed := b.round, b.probing
	mean, idle := r.seconds/float64(r.answers), 2*r.inFlight < b.Limit()
	if b.rounds++; b.rounds >= probeEvery {
		b.rounds = 0
	}
	b.round, b.probing = round{}, b.rounds == 0
	if r.overloaded > 0 {
		b.shrunk, b.from, b.limit = true, 0, max(1, leastCut*b.limit)
		return b
	}
	b.learn(mean, probed || idle || b.limit < tolerance)
	gradient := 1.0
	if mean > 0 {
		gradient = max(leastCut, tolerance*b.best/mean)
	}
	b.from = 0
	switch {
	case gradient < 1:
		b.shrunk, b.limit = true, max(1, gradient*b.limit)
		if gradient == leastCut {
			b.from = mean
		}
	case probed, idle:
		// It isn't what holds the worker back, so nothing is known of more.
	case b.shrunk:
		b.limit += math.Sqrt(b.limit)
	default:
		b.limit *= 2
	}
	b.limit = min(b.limit, b.most)
	return b
}

// learn takes in what a round says of the best. Where the bound halved in vain, what makes
// answers slow isn't the worker's own requests.
func (b *Bound) learn(mean float64, unhindered bool) {
	switch {
	case b.best == 0:
		b.best = mean
	case unhindered:
		b.best = min((b.best+mean)/2, rise*b.best)
	case b.from > 0 && mean > alike*b.from:
		b.best = max(b.best, min(mean, rise*b.best))
	}
}

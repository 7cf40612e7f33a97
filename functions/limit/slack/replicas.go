package slack

import (
	"math"
	"time"
)

const (
	// Reaction is what it takes, beside its start, until a replica is of use to batch: the
	// floor has to be told, written and taken up, its limit proved, and leased.
	Reaction = 5 * time.Second
	// falls is for how long fewer replicas have to do, with some to spare, before fewer are
	// called for. To have more for a while costs nothing: batch is over the sooner.
	falls, spare = time.Minute, 1.1
	// useful is the least time for which another replica is to be of use, as is half of what it
	// takes to be that. Without it more and more would be called for towards the end of a run
	// that is late, for ever less time each.
	useful = 10 * time.Second
	// rounding keeps a rate that is just what some replicas leave from calling for another.
	rounding = 1e-3
)

// Fleet is what batch has of a Model's replicas.
type Fleet struct {
	// PerReplica is what one serves, Serves what those serve that are ready, and Demand the
	// online demand beside, in requests per second.
	PerReplica, Serves, Demand float64
	// Start is how long a replica takes from when it is called for until it is of use.
	Start time.Duration
	// Most is how many there may be, and Within how many batch may call for, 0 for no other
	// bound: where that falls, those that were called for stay for a while.
	Most, Within int32
}

// Called is how many replicas batch calls for. The zero value is none.
type Called struct {
	Replicas int32
	// raised is when they last became more, above since when fewer would do.
	raised, above time.Time
}

// Call is the least number of replicas, within their bounds, that leave batch what it needs
// to meet its deadlines. It rises where those that are there, or on their way, wouldn't do:
// then to what does from when they are there on. Those that would come too late are not
// called for. It falls after a while.
func (r Rule) Call(before Called, f Fleet, needs []Need, now time.Time) Called {
	if len(needs) == 0 {
		return Called{}
	}
	coming := time.Duration(0)
	if f.Serves < float64(before.Replicas)*f.PerReplica*(1-rounding) {
		coming = max(0, f.Start-now.Sub(before.raised))
	}
	// Half of what is kept free is for what comes in between, so that not every hitch calls
	// for another replica.
	if r.enough(f, needs, target{free: early / 2, later: coming}) > before.Replicas {
		if n := r.enough(f, needs, target{free: early, later: f.Start}); n > before.Replicas {
			return Called{Replicas: n, raised: now}
		}
	}
	switch fewer := r.enough(f, needs, target{free: early, spare: spare}); {
	case fewer >= before.Replicas:
		before.above = time.Time{}
	case before.above.IsZero():
		before.above = now
	case now.Sub(before.above) >= falls:
		return Called{Replicas: fewer, raised: before.raised}
	}
	before.Replicas = min(before.Replicas, max(1, f.Most))
	return before
}

// target is how replicas have to do: where a part of the time is kept free, they are there a
// while later, and there is so much to spare.
type target struct {
	free  float64
	later time.Duration
	spare float64
}

// callable is how many batch may call for: one at least.
func (f Fleet) callable() int32 {
	if f.Within > 0 {
		return max(1, min(f.Most, f.Within))
	}
	return max(1, f.Most)
}

// enough is how many replicas do. What batches need that may cause only so many counts only
// as far as that.
func (r Rule) enough(f Fleet, needs []Need, t target) int32 {
	most := int32(1)
	for _, bound := range needs {
		var together []Need
		for _, n := range needs {
			if bound.MaxReplicas == 0 && n.MaxReplicas == 0 || bound.MaxReplicas > 0 && (n.MaxReplicas == 0 || n.MaxReplicas >= bound.MaxReplicas) {
				together = append(together, n)
			}
		}
		rate := r.required(f, together, t) * max(1, t.spare)
		capacity := rate/(1-r.Reserve) + (1+r.Margin)*f.Demand
		n := min(math.Ceil(capacity/f.PerReplica-rounding), float64(f.callable()))
		if bound.MaxReplicas > 0 {
			n = min(n, float64(bound.MaxReplicas))
		}
		most = max(most, int32(n))
	}
	return most
}

// required is the rate that meets all needs, from a while later on: until then batch has
// what is left now, each the same part of what it needs. What can't be helped from then on for
// a time that is worth it requires no more than that.
func (r Rule) required(f Fleet, needs []Need, t target) float64 {
	total := 0.0
	for _, n := range needs {
		total += n.requests() / n.until(t.free, 0)
	}
	left := max(0, (1-r.Reserve)*(f.Serves-(1+r.Margin)*f.Demand))
	if t.later <= 0 || total <= left {
		return total
	}
	required := 0.0
	for _, n := range needs {
		meanwhile := left * n.requests() / n.until(t.free, 0) / total
		if n.until(t.free, t.later) < max(useful, t.later/2).Seconds() {
			required += meanwhile
			continue
		}
		required += max(0, n.requests()-meanwhile*t.later.Seconds()) / n.until(t.free, t.later)
	}
	return required
}

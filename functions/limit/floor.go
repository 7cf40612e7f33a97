package limit

import (
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// floorFor is how long a floor stands that isn't called for any more: three ticks
	// of the autoscaler.
	floorFor = 6 * time.Second
	// floorTold is how long a floor in a status counts, unless it is told again, which
	// it is when half of that has passed: a limiter that is gone leaves none behind.
	floorTold = time.Minute
	// floorGrowth bounds a floor by what the autoscaler wants, where maxReplicas
	// doesn't: refused requests cost their senders nothing.
	floorGrowth = 10
	// rounding keeps a demand that is just what some replicas serve from calling for
	// another.
	rounding = 1e-3
)

// Floor is the least number of replicas that a revision is to have for the demand that
// is seen at the gateways, which its autoscaler can't see: that knows admitted requests
// only. The zero value is none.
//
// The headroom shows the autoscaler some of the demand, and lets it grow round by
// round; the floor has it there at once, and wherever the autoscaler would settle at
// more than a replica is said to serve, in the end.
type Floor struct {
	Replicas int32
	// at is when it was last called for.
	at time.Time
}

// Floor returns the next floor of a revision that is offered a demand, in requests per
// second, part of which is refused or not. It is there from the first refusal on,
// rises with the demand at once, falls with it after a while, and goes once the
// autoscaler asks for more by itself.
func (r Rule) Floor(before Floor, s Replicas, demand float64, refused bool, now time.Time) Floor {
	needed := r.needed(s, demand)
	binding := s.Desired <= before.Replicas
	switch {
	case needed > before.Replicas && (refused || before.Replicas > 0):
		return Floor{Replicas: needed, at: now}
	case needed == before.Replicas && binding:
		return Floor{Replicas: needed, at: now}
	case now.Sub(before.at) < floorFor:
		return before
	case binding && needed < before.Replicas:
		return Floor{Replicas: needed, at: now}
	default:
		return Floor{}
	}
}

// needed is how many replicas a demand would fill, 0 for a single one.
func (r Rule) needed(s Replicas, demand float64) int32 {
	if r.Policy != v1alpha1.PolicyDemand {
		return 0
	}
	most := s.Max
	if most <= 0 {
		most = floorGrowth * max(1, s.Desired)
	}
	q, _ := r.PerReplica.Float64()
	n := int32(min(math.Ceil(demand/q-rounding), float64(most)))
	if n < 2 {
		return 0
	}
	return n
}

// revisionKey is a revision of a RateLimit.
type revisionKey struct{ limit, revision string }

// setFloors sets what the demand, by which the limits were just divided, calls for in the
// rows of plans.
func (f *Function) setFloors(s *state, plans []plan) {
	now, floors := f.Clock.Now(), make(map[revisionKey]Floor, len(f.floors))
	for _, p := range plans {
		if p.err != nil || p.gone {
			continue
		}
		demand := f.divisions[p.of.Spec.VirtualService].demand
		limit, _ := p.limit.Float64()
		refused := demand > limit
		if p.limit.Cmp(p.uncapped) < 0 {
			demand = min(demand, limit) // more replicas would be of no use
		}
		for i, r := range s.replicas[key(p.of)] {
			k := revisionKey{limit: key(p.of), revision: r.Revision}
			before, ok := f.floors[k]
			if !ok {
				before = told(p.of, r.Revision, now)
			}
			next := p.rule.Floor(before, r, demand*float64(r.Percent)/100, refused, now)
			if next.Replicas > 0 {
				floors[k] = next
			}
			p.rows[i].Needed = next.Replicas
		}
	}
	f.floors = floors
}

// told is the floor that another limiter told of.
func told(l *v1alpha1.RateLimit, revision string, now time.Time) Floor {
	return Floor{Replicas: l.Status.Needed(revision, now), at: now}
}

// neededUntil is until when the needed replicas of some rows count: as it was, while
// nothing changed and enough of it is left.
func neededUntil(rows []v1alpha1.RevisionCapacity, before *v1alpha1.RateLimitStatus, now time.Time) *metav1.Time {
	same, called := len(rows) == len(before.Revisions), false
	for i, r := range rows {
		called = called || r.Needed > 0
		same = same && before.Revisions[i].Name == r.Name && before.Revisions[i].Needed == r.Needed
	}
	switch {
	case !called:
		return nil
	case same && before.NeededUntil != nil && before.NeededUntil.Sub(now) > floorTold/2:
		return before.NeededUntil
	}
	until := metav1.NewTime(now.Add(floorTold).Truncate(time.Second))
	return &until
}

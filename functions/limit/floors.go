package limit

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// floorTold is how long a floor in a status counts, unless it is told again, which
// it is when half of that has passed: a limiter that is gone leaves none behind.
const floorTold = time.Minute

// revisionKey is a revision of a RateLimit.
type revisionKey struct{ limit, revision string }

// setFloors sets what the demand, by which the limits were just divided, calls for in the
// rows of plans.
func (f *Function) setFloors(s *state, plans []plan) {
	now, floors := f.Clock.Now(), make(map[revisionKey]capacity.Floor, len(f.floors))
	bridges := f.bridged(now)
	for _, p := range plans {
		if p.err != nil || p.gone {
			continue
		}
		demand := f.divisions[p.of.Spec.VirtualService].Demand()
		limit, _ := p.limit.Float64()
		refused := demand > limit
		if p.limit.Cmp(p.uncapped) < 0 {
			demand = min(demand, limit) // more replicas would be of no use
		}
		for i, r := range s.replicas[key(p.of)] {
			k := revisionKey{limit: key(p.of), revision: r.Revision}
			before := f.floors[k]
			if f.floors == nil {
				before, bridges[k] = inherited(&p, r.Revision, now)
			}
			next := p.rule.Floor(before, r, demand*float64(r.Percent)/100, refused, now)
			if next.Replicas > 0 {
				floors[k] = next
			}
			p.rows[i].Needed = max(next.Replicas, f.calledOf(&p, r), bridges[k].Replicas)
		}
	}
	f.floors, f.bridges = floors, bridges
}

// bridged are the floors that still stand by what another limiter told.
func (f *Function) bridged(now time.Time) map[revisionKey]capacity.Floor {
	bridges := map[revisionKey]capacity.Floor{}
	for k, b := range f.bridges {
		if now.Sub(b.At) < askedFor {
			bridges[k] = b
		}
	}
	return bridges
}

// inherited is what becomes of a floor that another limiter told of. The demand's goes on. One
// that may be a batch's is no demand: it stands, as a bridge, for as long as it may take until
// batch has asked here; what it was of the demand is there again with the first refusal. A
// single replica is a batch's: the demand's are at least two.
func inherited(p *plan, revision string, now time.Time) (floor, bridge capacity.Floor) {
	was := told(p.of, revision, now)
	if p.batch || was.Replicas < 2 {
		return capacity.Floor{}, was
	}
	return was, capacity.Floor{}
}

// told is the floor that another limiter told of.
func told(l *v1alpha1.RateLimit, revision string, now time.Time) capacity.Floor {
	return capacity.Floor{Replicas: l.Status.Needed(revision, now), At: now}
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

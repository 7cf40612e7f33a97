package capacity

import (
	"math"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// floorFor is how long a floor stands that isn't called for any more: three ticks
	// of the autoscaler.
	floorFor = 6 * time.Second
	// floorGrowth bounds a floor by what the autoscaler wants, where maxReplicas
	// doesn't: refused requests cost their senders nothing.
	floorGrowth = 10
	// tryEvery is how often a floor changes while replicas can't be had. Whoever makes
	// them tries again when it does.
	tryEvery = time.Minute
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
	// At is when it was last called for.
	At time.Time
}

// Floor returns the next floor of a revision that is offered a demand, in requests per
// second, part of which is refused or not. It is there from the first refusal on, unless
// the autoscaler asks for more than it would: what a cap refuses, more replicas don't admit.
// It rises with the demand at once, falls with it after a while, and goes once the
// autoscaler asks for more by itself, unless that can't be had.
func (r Rule) Floor(before Floor, s Replicas, demand float64, refused bool, now time.Time) Floor {
	needed := r.needed(s, demand, now)
	binding := s.Desired <= before.Replicas || s.Missing > 0
	switch {
	case needed > before.Replicas && (refused && (needed >= s.Desired || s.Missing > 0) || before.Replicas > 0):
		return Floor{Replicas: needed, At: now}
	case needed == before.Replicas && binding:
		return Floor{Replicas: needed, At: now}
	case now.Sub(before.At) < floorFor:
		return before
	case binding && needed < before.Replicas:
		return Floor{Replicas: needed, At: now}
	default:
		return Floor{}
	}
}

// needed is how many replicas a demand would fill, 0 for a single one. Where replicas
// can't be had, it is one more than there are: once that comes, so may others. As long
// as it doesn't, its being desired tells that the headroom has nothing left to show.
func (r Rule) needed(s Replicas, demand float64, now time.Time) int32 {
	if r.Policy != v1alpha1.PolicyDemand {
		return 0
	}
	most := s.Max
	if most <= 0 {
		most = floorGrowth * max(1, s.Desired)
	}
	q, _ := r.PerReplica.Float64()
	n := int32(min(math.Ceil(demand/q-rounding), float64(most)))
	if there := s.coming(); s.Missing > 0 && n > there {
		n = min(most, there+1+int32(now.Unix()/int64(tryEvery.Seconds())%2))
	}
	if n < 2 {
		return 0
	}
	return n
}

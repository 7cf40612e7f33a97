package limit

import (
	"math/big"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Replicas is the scale of one revision that a limit follows.
type Replicas struct {
	// Revision is its name.
	Revision string
	// Percent of the virtual service's requests that go to it: 0 for one that only a
	// tag leads to.
	Percent int32
	// Desired is what its autoscaler decided.
	Desired int32
	// Ready is how many warm replicas its endpoints hold.
	Ready int32
	// Initial is how many replicas it starts from zero: at least 1.
	Initial int32
	// Max is its maxReplicas; 0 means no bound.
	Max int32
}

// Rule is how a limit follows replicas.
type Rule struct {
	// PerReplica is what one replica can serve, in requests per second.
	PerReplica *big.Rat
	// Policy chooses between the strict and the default rule.
	Policy v1alpha1.LimitPolicy
	// Headroom is what policy Demand admits above the capacity: 1 means twice it.
	Headroom *big.Rat
}

// replicas is the number n of replicas whose capacity counts.
//
// The limit falls before replicas go: while fewer are desired than are ready,
// only the desired ones count. On the way up, policy Ready counts what is ready;
// policy Demand counts what is on its way too, since the requests that it was
// asked for are queued by the activator meanwhile. Zero replicas count as those
// that the first request will start: a limit of zero could never wake a model.
func (r Rule) replicas(s Replicas) int32 {
	n := s.Ready
	switch {
	case s.Desired < s.Ready:
		n = s.Desired
	case r.Policy == v1alpha1.PolicyDemand && !s.full():
		n = s.Desired
	}
	if n < 1 {
		return max(1, s.Initial)
	}
	return n
}

// full is true when no more replicas can be had.
func (s Replicas) full() bool { return s.Max > 0 && s.Ready >= s.Max }

// Capacity is what the revision's replicas can serve, in requests per second.
func (r Rule) Capacity(s Replicas) *big.Rat {
	return new(big.Rat).Mul(r.PerReplica, ratio(int64(r.replicas(s)), 1))
}

// admitted is the revision's capacity with the headroom that its policy adds.
//
// The autoscaler sees admitted requests only, so a limit at today's capacity can
// keep it from ever asking for more; the headroom shows it the demand. Once it
// asks for all there is, there is nothing left to show.
func (r Rule) admitted(s Replicas) *big.Rat {
	c := r.Capacity(s)
	if r.Policy != v1alpha1.PolicyDemand || (s.Max > 0 && s.Desired >= s.Max) {
		return c
	}
	return c.Mul(c, new(big.Rat).Add(ratio(1, 1), r.Headroom))
}

// Limit is the rate to admit to a virtual service that splits its requests over
// revisions: the largest at which no revision gets more than is admitted for it,
// min over i of c_i / w_i. Without any revision, it is what one replica can serve,
// so that a Model is limited before its first route.
func (r Rule) Limit(revisions []Replicas) *big.Rat {
	var limit *big.Rat
	for _, s := range revisions {
		if s.Percent <= 0 {
			continue
		}
		at := r.admitted(s)
		at.Mul(at, ratio(100, int64(s.Percent)))
		if limit == nil || at.Cmp(limit) < 0 {
			limit = at
		}
	}
	if limit == nil {
		return new(big.Rat).Set(r.PerReplica)
	}
	return limit
}

func ratio(a, b int64) *big.Rat { return big.NewRat(a, b) }

package capacity

import (
	"math/big"

	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/networking/pkg/apis/networking"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Rational is a rate of the API, exactly; false if it isn't above 0.
func Rational(q resource.Quantity) (*big.Rat, bool) {
	r, ok := new(big.Rat).SetString(q.AsDec().String())
	return r, ok && r.Sign() > 0
}

// Replicas is the scale of one revision that a limit follows.
type Replicas struct {
	// Revision is its name.
	Revision string
	// Protocol is what it speaks, "" while that isn't known.
	Protocol networking.ProtocolType
	// Percent of the virtual service's requests that go to it: 0 for one that only a
	// tag leads to.
	Percent int32
	// Desired is what its autoscaler decided.
	Desired int32
	// Ready is how many warm replicas its endpoints hold.
	Ready int32
	// Missing is how many of those that are desired and not ready can't be expected to
	// come, Why what keeps them.
	Missing int32
	Why     Obstacle
	// Initial is how many replicas the first request to none starts: at least 1.
	Initial int32
	// Max is its maxReplicas; 0 means no bound.
	Max int32
}

// coming is how many replicas there are, or may be expected.
func (s Replicas) coming() int32 { return max(s.Ready, s.Desired-s.Missing) }

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
// asked for are queued by the activator meanwhile, for as long as it may be expected
// to come. Zero replicas count as those
// that the first request will start: a limit of zero could never wake a model.
func (r Rule) replicas(s Replicas) int32 {
	n := s.Ready
	switch {
	case s.Desired < s.Ready:
		n = s.Desired
	case r.Policy == v1alpha1.PolicyDemand && !s.full():
		n = s.coming()
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
	return new(big.Rat).Mul(r.PerReplica, big.NewRat(int64(r.replicas(s)), 1))
}

// Admitted is the revision's capacity with the headroom that its policy adds.
//
// The autoscaler sees admitted requests only, so a limit at today's capacity can
// keep it from ever asking for more; the headroom shows it the demand. Once it
// asks for all there is, or for more than can be had, there is nothing left to show.
func (r Rule) Admitted(s Replicas) *big.Rat {
	c := r.Capacity(s)
	if r.Policy != v1alpha1.PolicyDemand || s.Missing > 0 || (s.Max > 0 && s.Desired >= s.Max) {
		return c
	}
	return c.Mul(c, new(big.Rat).Add(big.NewRat(1, 1), r.Headroom))
}

// Serving is what the replicas that are ready serve of a virtual service that splits its
// requests over revisions: nothing where one that has requests has no replica. Those that
// are to go don't count, nor does what is on its way.
func (r Rule) Serving(revisions []Replicas) *big.Rat {
	var serving *big.Rat
	for _, s := range revisions {
		if s.Percent <= 0 {
			continue
		}
		of := new(big.Rat).Mul(r.PerReplica, big.NewRat(100*int64(min(s.Ready, max(0, s.Desired))), int64(s.Percent)))
		if serving == nil || of.Cmp(serving) < 0 {
			serving = of
		}
	}
	if serving == nil {
		return new(big.Rat)
	}
	return serving
}

// WithoutHeadroom is the rule that admits what replicas can serve, and no more.
func (r Rule) WithoutHeadroom() Rule {
	r.Headroom = new(big.Rat)
	return r
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
		at := r.Admitted(s)
		at.Mul(at, big.NewRat(100, int64(s.Percent)))
		if limit == nil || at.Cmp(limit) < 0 {
			limit = at
		}
	}
	if limit == nil {
		return new(big.Rat).Set(r.PerReplica)
	}
	return limit
}

package platform

import (
	"math"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Replicas is the scale of one revision at a moment.
type Replicas struct {
	Revision string
	// Percent of the Model's requests that go to it.
	Percent int32
	// Desired by its autoscaler.
	Desired int32
	// Ready ones, in its endpoints.
	Ready int32
	// Initial is how many the first request to none starts.
	Initial int32
	// Max is its maxReplicas; 0 for no bound.
	Max int32
}

// Rule is what a Model says of its limit.
type Rule struct {
	// PerReplica is q, in requests per second.
	PerReplica float64
	Policy     v1alpha1.LimitPolicy
	// Headroom of policy Demand: 1 admits twice the capacity.
	Headroom float64
}

// RuleOf reads a Model as the webhook leaves it, defaults filled in, and as it is in force.
func RuleOf(m *v1alpha1.Model) Rule {
	limit := m.InForce().Spec.Limit
	rule := Rule{Policy: limit.Policy}
	if q := limit.RequestsPerSecondPerReplica; q != nil {
		rule.PerReplica = q.AsApproximateFloat64()
	}
	if h := limit.HeadroomPercent; h != nil {
		rule.Headroom = float64(*h) / 100
	}
	return rule
}

// AtZero is the limit of a Model with one revision and no replica.
func (r Rule) AtZero(initial, maximum int32) float64 {
	return r.Limit([]Replicas{{Percent: 100, Initial: initial, Max: maximum}})
}

// Limit is the limit that design.md ("Limits") asks for, in requests per second
// over the whole gateway: min over the revisions of c/w. It is written here
// independently of functions/limit, in floating point, to check what that does. All
// replicas that are desired are expected to come.
//
//	policy   state                     n, replicas that count   c, admitted
//	any      desired < ready           desired                  as below, with this n
//	Ready    else                      ready                    q·n
//	Demand   desired < max, or no max  max(ready, desired)      (1 + headroom)·q·n
//	Demand   desired ≥ max > ready     desired                  q·n
//	Demand   desired, ready ≥ max      ready                    q·n
//	any      n = 0                     max(1, initial)          as above
func (r Rule) Limit(revisions []Replicas) float64 {
	limit := math.Inf(1)
	for _, s := range revisions {
		if s.Percent > 0 {
			limit = min(limit, r.admitted(s)*100/float64(s.Percent))
		}
	}
	if math.IsInf(limit, 1) {
		return r.PerReplica
	}
	return limit
}

func (r Rule) admitted(s Replicas) float64 {
	n, factor := s.Ready, 1.0
	if r.Policy == v1alpha1.PolicyDemand {
		if s.Max == 0 || s.Ready < s.Max {
			n = max(s.Ready, s.Desired)
		}
		if s.Max == 0 || s.Desired < s.Max {
			factor += r.Headroom
		}
	}
	if s.Desired < s.Ready {
		n = s.Desired
	}
	if n == 0 {
		n = max(1, s.Initial)
	}
	return factor * r.PerReplica * float64(n)
}

// sameRate tells whether a limit from a status is the one that was computed; the
// status shows it to a thousandth, rounded down.
func sameRate(shown, computed float64) bool {
	return math.Abs(shown-computed) < 0.0015
}

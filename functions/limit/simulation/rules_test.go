package simulation

import (
	"math"
	"math/big"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// rule is a way to hold a Model to a limit, and to tell its autoscaler of the demand.
type rule struct {
	name string
	replay.Rule
}

// unlimited is what the others are compared with.
var unlimited = rule{name: "none"}

// ruled is a policy of package capacity.
func ruled(name string, q float64, policy v1alpha1.LimitPolicy, headroom float64) rule {
	formula := capacity.Rule{PerReplica: rational(q), Policy: policy, Headroom: rational(headroom)}
	return rule{name, replay.Rule{Limit: func(v replay.View) *big.Rat { return formula.Limit([]capacity.Replicas{v.Replicas}) }}}
}

func ready(q float64) rule { return ruled("Ready", q, v1alpha1.PolicyReady, 0) }

// headroomOnly is Demand without its floor.
func headroomOnly(q float64) rule { return ruled("headroom", q, v1alpha1.PolicyDemand, headroom) }

// demand is the policy as it is, for a single run.
func demand(q float64) rule {
	r, formula := headroomOnly(q), capacity.Rule{PerReplica: rational(q), Policy: v1alpha1.PolicyDemand, Headroom: rational(headroom)}
	r.name = "Demand"
	r.Floor = func(before capacity.Floor, v replay.View) capacity.Floor {
		return formula.Floor(before, v.Replicas, v.Offered, v.Offered > v.Limit, replay.Began.Add(v.Now))
	}
	return r
}

// roomy is a headroom of 300 %.
func roomy(q float64) rule { return ruled("headroom 300%", q, v1alpha1.PolicyDemand, 3) }

// literal admits just what is ready from desired = maxReplicas on.
func literal(q float64) rule {
	below, full := headroomOnly(q), ready(q)
	return rule{"headroom, ready at max", replay.Rule{Limit: func(v replay.View) *big.Rat {
		if v.Replicas.Max > 0 && v.Replicas.Desired >= v.Replicas.Max {
			return full.Limit(v)
		}
		return below.Limit(v)
	}}}
}

// capped never admits more than maxReplicas could serve.
func capped(q float64) rule {
	r := headroomOnly(q)
	return rule{"headroom, capped", replay.Rule{Limit: func(v replay.View) *big.Rat {
		rate, most := r.Limit(v), rational(q*float64(v.Replicas.Max))
		if most.Sign() > 0 && most.Cmp(rate) < 0 {
			return most
		}
		return rate
	}}}
}

// always asks for the replicas that serve the demand at q each, refused or not.
func always(q float64) rule {
	r := headroomOnly(q)
	r.name = "floor always"
	r.Floor = func(_ capacity.Floor, v replay.View) capacity.Floor {
		return capacity.Floor{Replicas: int32(math.Ceil(v.Offered/q - 1e-3))}
	}
	return r
}

// withFeed tells the autoscaler of refused requests: q a second of them are a replica.
func withFeed(r rule, q float64) rule {
	r.name += "+fed"
	r.Fed = func(v replay.View) float64 { return v.Refused / q }
	return r
}

func rational(f float64) *big.Rat { return new(big.Rat).SetFloat64(f) }

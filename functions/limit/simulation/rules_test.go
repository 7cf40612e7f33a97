package simulation

import (
	"math"
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// view is what a rule goes by.
type view struct {
	replicas capacity.Replicas
	// offered is the demand as it is seen at the gateway, and refused what was of it
	// in the last second; in requests per second.
	offered, refused float64
	// now is the time since the beginning.
	now time.Duration
}

// rule is a way to hold a Model to a limit, and to tell its autoscaler of the demand.
type rule struct {
	name string
	// limit is what to admit; nil for anything.
	limit func(view) *big.Rat
	// floor is a min-scale for the demand, nil for none: more replicas are asked for
	// than the autoscaler sees a need for.
	floor func(view) int32
	// fed is what the autoscaler is told besides what it sees, in replicas; nil for
	// nothing.
	fed func(view) float64
	// hopeful is true if all that is desired is expected, however long it takes.
	hopeful bool
}

// unlimited is what the others are compared with.
var unlimited = rule{name: "none"}

// ruled is a policy of package capacity.
func ruled(name string, q float64, policy v1alpha1.LimitPolicy, headroom float64) rule {
	formula := capacity.Rule{PerReplica: rational(q), Policy: policy, Headroom: rational(headroom)}
	return rule{name: name, limit: func(v view) *big.Rat { return formula.Limit([]capacity.Replicas{v.replicas}) }}
}

func ready(q float64) rule { return ruled("Ready", q, v1alpha1.PolicyReady, 0) }

// headroomOnly is Demand without its floor.
func headroomOnly(q float64) rule { return ruled("headroom", q, v1alpha1.PolicyDemand, headroom) }

// demand is the policy as it is, for a single run.
func demand(q float64) rule {
	r, formula := headroomOnly(q), capacity.Rule{PerReplica: rational(q), Policy: v1alpha1.PolicyDemand, Headroom: rational(headroom)}
	var floor capacity.Floor
	r.name = "Demand"
	r.floor = func(v view) int32 {
		admitted, _ := r.limit(v).Float64()
		floor = formula.Floor(floor, v.replicas, v.offered, v.offered > admitted, began.Add(v.now))
		return floor.Replicas
	}
	return r
}

// roomy is a headroom of 300 %.
func roomy(q float64) rule { return ruled("headroom 300%", q, v1alpha1.PolicyDemand, 3) }

// literal admits just what is ready from desired = maxReplicas on.
func literal(q float64) rule {
	below, full := headroomOnly(q), ready(q)
	return rule{name: "headroom, ready at max", limit: func(v view) *big.Rat {
		if v.replicas.Max > 0 && v.replicas.Desired >= v.replicas.Max {
			return full.limit(v)
		}
		return below.limit(v)
	}}
}

// capped never admits more than maxReplicas could serve.
func capped(q float64) rule {
	r := headroomOnly(q)
	return rule{name: "headroom, capped", limit: func(v view) *big.Rat {
		rate, most := r.limit(v), rational(q*float64(v.replicas.Max))
		if most.Sign() > 0 && most.Cmp(rate) < 0 {
			return most
		}
		return rate
	}}
}

// always asks for the replicas that serve the demand at q each, refused or not.
func always(q float64) rule {
	r := headroomOnly(q)
	r.name = "floor always"
	r.floor = func(v view) int32 { return int32(math.Ceil(v.offered/q - 1e-3)) }
	return r
}

// withFeed tells the autoscaler of refused requests: q a second of them are a replica.
func withFeed(r rule, q float64) rule {
	r.name += "+fed"
	r.fed = func(v view) float64 { return v.refused / q }
	return r
}

func rational(f float64) *big.Rat { return new(big.Rat).SetFloat64(f) }

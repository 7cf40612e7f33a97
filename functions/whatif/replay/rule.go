package replay

import (
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
)

// Rule is a way to hold a Model to a limit, and to tell its autoscaler of the demand.
type Rule struct {
	// Limit is what to admit; nil for anything.
	Limit func(View) *big.Rat
	// Floor is the next min-scale for the demand, nil for none: more replicas are asked for
	// than the autoscaler sees a need for.
	Floor func(before capacity.Floor, v View) capacity.Floor
	// HalfLife is how long half of the demand before is kept, where that is more than a second.
	HalfLife time.Duration
	// Fed is what the autoscaler is told besides what it sees, in replicas; nil for nothing.
	Fed func(View) float64
	// Hopeful is true if all that is desired is expected, however long it takes.
	Hopeful bool
}

// View is what a rule goes by.
type View struct {
	Replicas capacity.Replicas
	// Offered is the demand as it is seen at the gateway, and Refused what was of it
	// in the last second; Limit is what is to be admitted; in requests per second.
	Offered, Refused, Limit float64
	// Now is the time since the beginning.
	Now time.Duration
}

// RuleOf is what the limiter does by a rule of its own.
func RuleOf(r capacity.Rule) Rule {
	out := Rule{
		Limit: func(v View) *big.Rat { return r.Limit([]capacity.Replicas{v.Replicas}) },
		Floor: func(before capacity.Floor, v View) capacity.Floor {
			return r.Floor(before, v.Replicas, v.Offered, v.Offered > v.Limit, at(v.Now))
		},
	}
	if q, _ := r.PerReplica.Float64(); q > 0 && q < 1 {
		out.HalfLife = time.Duration(float64(time.Second) / q)
	}
	return out
}

package split

import (
	"math/big"
	"slices"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Phase is what a replica is at.
type Phase int

const (
	// ColdStart is until the model could be warmed up or, where it isn't, was ready; a replica that
	// was ready and isn't any more is there again.
	ColdStart Phase = iota
	// WarmUp is while it is warmed up.
	WarmUp
	// Ready is while it may be asked.
	Ready
)

// Change is when a replica came into a phase.
type Change struct {
	At    time.Time
	Phase Phase
}

// Asked are the requests of a replica's revision while it was ready.
type Asked struct {
	// Any is true if one ended or was under way.
	Any bool
	// Marked of those that Arrived carried the mark of a batch.
	Marked, Arrived int64
}

// Weights say how an amount is divided, in proportion.
type Weights struct {
	coldStart, warmUp, serving, batch, idle *big.Int
}

// Over are the weights of a time, by how much of it a replica spent in each phase. Changes are in
// their order; before the first one it is in ColdStart. A time without a length is all in the phase
// that it is in. While the replica was ready, it was idle if its revision had no requests; else the
// share of the requests with the mark was batch, and the rest serving.
func Over(from, to time.Time, changes []Change, asked Asked) Weights {
	var in [Ready + 1]int64
	at, phase := from, ColdStart
	for _, c := range changes {
		if c.At.After(at) {
			until := c.At
			if until.After(to) {
				until = to
			}
			in[phase] += max(0, int64(until.Sub(at)))
			at = until
		}
		if !c.At.After(to) {
			phase = c.Phase
		}
	}
	in[phase] += max(0, int64(to.Sub(at)))
	if in[ColdStart]+in[WarmUp]+in[Ready] == 0 {
		in[phase] = 1
	}
	return weigh(in, asked)
}

func weigh(in [Ready + 1]int64, asked Asked) Weights {
	arrived := max(asked.Arrived, asked.Marked, 1)
	scaled := func(n, by int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(by)) }
	w := Weights{
		coldStart: scaled(in[ColdStart], arrived), warmUp: scaled(in[WarmUp], arrived),
		serving: new(big.Int), batch: new(big.Int), idle: new(big.Int),
	}
	if !asked.Any {
		w.idle = scaled(in[Ready], arrived)
		return w
	}
	marked := max(0, asked.Marked)
	w.batch, w.serving = scaled(in[Ready], marked), scaled(in[Ready], arrived-marked)
	return w
}

// Of divides an amount: each part gets its share, rounded down, and those that lost most by that one
// thousandth more each, until nothing is left.
func (w Weights) Of(amount v1alpha1.Amount) v1alpha1.UsageParts {
	parts := v1alpha1.UsageParts{Total: amount}
	type share struct {
		to   *v1alpha1.Amount
		lost *big.Int
	}
	sum := new(big.Int)
	weights := []*big.Int{w.coldStart, w.warmUp, w.serving, w.batch, w.idle}
	for _, weight := range weights {
		sum.Add(sum, weight)
	}
	left, shares := amount, make([]share, 0, len(weights))
	for i, to := range []*v1alpha1.Amount{&parts.ColdStart, &parts.WarmUp, &parts.Serving, &parts.Batch, &parts.Idle} {
		whole, lost := new(big.Int).QuoRem(new(big.Int).Mul(weights[i], big.NewInt(int64(amount))), sum, new(big.Int))
		*to = v1alpha1.Amount(whole.Int64())
		left -= *to
		shares = append(shares, share{to, lost})
	}
	slices.SortStableFunc(shares, func(a, b share) int { return b.lost.Cmp(a.lost) })
	for i := 0; left > 0; i++ {
		*shares[i].to++
		left--
	}
	return parts
}

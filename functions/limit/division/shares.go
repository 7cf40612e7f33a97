package division

import (
	"math"
	"math/big"
	"slices"
)

const (
	// units is what the shares of a limit add up to.
	units = 1000
	// narrow is the least share of a place that is open. Its bucket holds a request or
	// more, and those that it refuses count as demand too, so a quiet place wakes
	// however little it may admit.
	narrow = 1
	// wide is what a place that forwards has while there is no demand.
	wide = 50
	// growth is what a quiet place can bear, in multiples of the demand, while there is
	// room for it.
	growth = 2
	// uneven is how much more than its part one of several pods may get of a place's
	// demand: callers keep few connections, and each is to one pod. Eight of them over
	// four pods come to that.
	uneven = 2
	// load is the part of its share that a place's demand takes up when shares are made,
	// comfort that up to which it needs no more. Between them is what demand may vary by
	// from one reading to the next.
	load, comfort = 0.8, 0.9
	// tolerance is by how much of itself a place's fair share must differ
	// from its present one before shares move: every move rewrites a slot.
	tolerance = 0.2
)

// Role is what a virtual service does at an entry of a gateway.
type Role int

const (
	// Absent has no route there.
	Absent Role = iota
	// Answering has the gateway itself answer, by a redirect: nothing is admitted.
	Answering
	// Forwarding sends requests to backends.
	Forwarding
)

// Place is an entry of a gateway, as a limit finds it.
type Place struct {
	// Role of the virtual service there.
	Role Role
	// Demand in requests per second, refused ones included.
	Demand float64
	// Pods of its gateway, each with an equal part of the share; 0 is 1.
	Pods int
}

// open is true for a place that has a share of the limit: one without a route may
// get it any moment.
func (p Place) open() bool { return p.Role != Answering }

// demand that counts: where nothing is admitted, requests take nothing up.
func (p Place) demand() float64 {
	if p.Role == Forwarding {
		return p.Demand
	}
	return 0
}

// uneven is how much more than its part one of its pods may get of its demand.
func (p Place) uneven() float64 {
	if p.Pods > 1 {
		return uneven
	}
	return 1
}

// total is the demand of places together.
func total(places []Place) float64 {
	sum := 0.0
	for _, p := range places {
		sum += p.demand()
	}
	return sum
}

// Shares are the parts of a limit that each of some places gets, in units of
// 1/1000. Those of places that are open add up to 1000, others are 0.
type Shares []int64

// fairShares divides a limit, in requests per second, over places. Each place that
// forwards has what its demand needs; where that is more than the limit, so much in
// proportion (flow-proportional shares: Raghavan et al., Cloud Control with Distributed
// Rate Limiting, SIGCOMM 2007). At a gateway of several pods it has twice that, as far as
// it goes: the pods don't get the same. What is left goes to those that have least, so that
// the demand may turn up at any place: until all have twice the whole demand. Then the rest
// is for those where the demand is, which is where it is likely to grow. Without any, it
// is for the first place that forwards.
func fairShares(places []Place, limit float64) Shares {
	shares, left, most := make(Shares, len(places)), int64(units), -1
	parts := fairParts(places, limit)
	for i, p := range places {
		if p.open() {
			shares[i] = narrow
			left -= narrow
			if most < 0 || parts[i] > parts[most] {
				most = i
			}
		}
	}
	if most < 0 {
		return shares
	}
	rest := left
	for i := range places {
		if i != most {
			of := int64(float64(left) * parts[i])
			shares[i] += of
			rest -= of
		}
	}
	shares[most] += rest
	return shares
}

// fairParts are the parts of a limit that places should have: 1 together, if any of
// them forwards.
func fairParts(places []Place, limit float64) []float64 {
	parts, needed, forwarding := make([]float64, len(places)), 0.0, 0
	for i, p := range places {
		if p.Role == Forwarding {
			parts[i] = p.demand() / (load * limit)
			needed += parts[i]
			forwarding++
		}
	}
	if forwarding == 0 {
		return parts
	}
	if needed >= 1 {
		for i := range parts {
			parts[i] /= needed
		}
		return parts
	}
	demand, spread := total(places), 0.0
	for i, p := range places {
		spread += parts[i] * (p.uneven() - 1)
	}
	if spread > 0 {
		fits := min(1, (1-needed)/spread)
		for i, p := range places {
			parts[i] *= 1 + fits*(p.uneven()-1)
		}
	}
	level := min(level(parts, forwarding), max(float64(wide)/units, growth*demand/limit))
	rest := 1.0
	for i, p := range places {
		if p.Role == Forwarding {
			parts[i] = max(parts[i], level)
			rest -= parts[i]
		}
	}
	if demand <= 0 {
		parts[firstPlace(places)] += rest
		return parts
	}
	for i, p := range places {
		parts[i] += rest * p.demand() / demand
	}
	return parts
}

// level is the share up to which the n smallest parts can be raised, so that all
// together are 1: what was 0 of the others stays so.
func level(parts []float64, n int) float64 {
	sorted := slices.Sorted(slices.Values(parts))
	slices.Reverse(sorted)
	left := 1.0
	for _, part := range sorted {
		if n == 1 || part*float64(n) <= left {
			break
		}
		left -= part
		n--
	}
	return left / float64(n)
}

// firstPlace is the first that forwards; entries for callers outside the cluster
// come first. As long as none does, it is the first that may.
func firstPlace(places []Place) int {
	if i := slices.IndexFunc(places, func(p Place) bool { return p.Role == Forwarding }); i >= 0 {
		return i
	}
	return max(0, slices.IndexFunc(places, Place.open))
}

// near is true if no share of the others differs by more than the tolerance.
func (s Shares) near(others Shares) bool {
	for i, o := range others {
		if math.Abs(float64(o-s[i])) > tolerance*float64(s[i]) {
			return false
		}
	}
	return true
}

// cover is true if the demand of every place is well within its part of the limit: what
// any pod may get of it, where the fair shares have room for that.
func (s Shares) cover(places []Place, limit float64, fair Shares) bool {
	for i, p := range places {
		demand := p.demand()
		if float64(fair[i]) > (1+tolerance)*float64(s[i]) {
			demand *= p.uneven()
		}
		if demand > comfort*s.rate(limit, i) {
			return false
		}
	}
	return true
}

// bear is true if each place that forwards has room for all of the demand, or about as
// much as the fair shares leave it. While the demand is high these are little, and it
// takes a fifth of the limit for a quiet place to be worth a move.
func (s Shares) bear(places []Place, limit float64, fair Shares) bool {
	demand, lacking := total(places), int64(0)
	for i, p := range places {
		if p.Role != Forwarding || s.rate(limit, i) >= demand || float64(s[i]) >= (1-tolerance)*float64(fair[i]) {
			continue
		}
		if fair.rate(limit, i) >= demand {
			return false
		}
		lacking += fair[i] - s[i]
	}
	return float64(lacking) <= tolerance*units
}

// rate is the part of a limit that place i gets.
func (s Shares) rate(limit float64, i int) float64 { return limit * float64(s[i]) / units }

// fit is true for shares of just those places that are open.
func (s Shares) fit(places []Place) bool {
	if len(s) != len(places) {
		return false
	}
	sum := int64(0)
	for i, p := range places {
		if p.open() != (s[i] > 0) {
			return false
		}
		sum += s[i]
	}
	return sum == units
}

// Of is the part of a limit that place i gets, in requests per second.
func (s Shares) Of(limit *big.Rat, i int) *big.Rat {
	return new(big.Rat).Mul(limit, big.NewRat(s[i], units))
}

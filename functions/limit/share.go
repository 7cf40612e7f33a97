package limit

import (
	"math"
	"math/big"
)

const (
	// shareUnits is what the shares of a limit add up to.
	shareUnits = 1000
	// narrow is the share of a place without any traffic. Its bucket holds a request
	// or more, and those that it refuses count as demand too, so a quiet place wakes
	// however little it may admit.
	narrow = 1
	// wide is that of one that forwards, as long as the demand is far below the limit:
	// its first requests are not to be refused where there is room for them.
	wide = 50
	// shareTolerance is by how much of itself a place's fair share must differ
	// from its present one before shares move: every move rewrites a slot.
	shareTolerance = 0.2
	// comfort is the part of what a place may admit up to which its demand needs no more.
	comfort = 0.9
)

// Place is an entry of a gateway, as a limit finds it.
type Place struct {
	// Role of the virtual service there.
	Role Role
	// Demand in requests per second, refused ones included.
	Demand float64
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

// floor is the least share of a place, in which a quiet one that forwards has so much.
func (p Place) floor(quiet int64) int64 {
	switch p.Role {
	case Forwarding:
		return quiet
	case Absent:
		return narrow
	default:
		return 0
	}
}

// Shares are the parts of a limit that each of some places gets, in units of
// 1/1000. Those of places that are open add up to 1000, others are 0.
type Shares []int64

// fairShares divides a limit over places in proportion to the demand seen at each
// (flow-proportional shares: Raghavan et al., Cloud Control with Distributed Rate
// Limiting, SIGCOMM 2007), beside their floors. Without any demand, all but the
// floors is for the place at first; if that isn't open, for the last that is.
func fairShares(places []Place, quiet int64, first int) Shares {
	shares, left, most := make(Shares, len(places)), int64(shareUnits), -1
	total := 0.0
	for i, p := range places {
		shares[i] = p.floor(quiet)
		left -= shares[i]
		total += p.demand()
		if p.open() && (most < 0 || p.demand() >= places[most].demand()) {
			most = i
		}
	}
	switch {
	case most < 0:
		return shares
	case total <= 0:
		if places[first].open() {
			most = first
		}
		total = 1 // of nothing
	}
	rest := left
	for i, p := range places {
		if i != most {
			of := int64(float64(left) * p.demand() / total)
			shares[i] += of
			rest -= of
		}
	}
	shares[most] += rest
	return shares
}

// near is true if no share of the others differs by more than the tolerance.
func (s Shares) near(others Shares) bool {
	for i, o := range others {
		if math.Abs(float64(o-s[i])) > shareTolerance*float64(s[i]) {
			return false
		}
	}
	return true
}

// cover is true if the demand of every place is well within its part of the limit.
func (s Shares) cover(places []Place, limit float64) bool {
	for i, p := range places {
		if p.demand() > comfort*limit*float64(s[i])/shareUnits {
			return false
		}
	}
	return true
}

// fit is true for shares of just those places that are open.
func (s Shares) fit(places []Place) bool {
	if len(s) != len(places) {
		return false
	}
	for i, p := range places {
		if p.open() != (s[i] > 0) {
			return false
		}
	}
	return true
}

// Of is the part of a limit that place i gets, in requests per second.
func (s Shares) Of(limit *big.Rat, i int) *big.Rat {
	return new(big.Rat).Mul(limit, ratio(s[i], shareUnits))
}

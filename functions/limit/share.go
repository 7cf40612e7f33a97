package limit

import (
	"math"
	"math/big"
)

const (
	// shareUnits is what the shares of a limit add up to.
	shareUnits = 1000
	// floorUnits is the share of a place without any traffic. Its bucket holds a
	// request or more, and those that it refuses count as demand too, so a quiet
	// place wakes however little it may admit.
	floorUnits = 1
	// shareTolerance is by how much of itself a place's fair share must differ
	// from its present one before shares move: every move rewrites a slot.
	shareTolerance = 0.2
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

// Shares are the parts of a limit that each of some places gets, in units of
// 1/1000. Those of places that are open add up to 1000, others are 0.
type Shares []int64

// NextShares divides a limit over places in proportion to the demand seen at each
// (flow-proportional shares: Raghavan et al., Cloud Control with Distributed Rate
// Limiting, SIGCOMM 2007). Shares stay as they are while no place's fair share
// differs by more than a fifth, and while there is no demand at all. Where current
// is nil, all but the floors is for the place at first until there is demand to go
// by; else current fits the places.
func NextShares(current Shares, places []Place, first int) Shares {
	fair := fairShares(places)
	switch {
	case current == nil && fair == nil:
		return firstShares(places, first)
	case current == nil:
		return fair
	}
	for i, f := range fair {
		if math.Abs(float64(f-current[i])) > shareTolerance*float64(current[i]) {
			return fair
		}
	}
	return current
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

// fairShares is nil without demand.
func fairShares(places []Place) Shares {
	total, busiest, open := 0.0, 0, int64(0)
	for i, p := range places {
		total += p.demand()
		if p.demand() > places[busiest].demand() {
			busiest = i
		}
		if p.open() {
			open++
		}
	}
	if total <= 0 {
		return nil
	}
	shares, left := make(Shares, len(places)), int64(shareUnits)
	for i, p := range places {
		if i == busiest || !p.open() {
			continue
		}
		shares[i] = floorUnits + int64(float64(shareUnits-floorUnits*open)*p.demand()/total)
		left -= shares[i]
	}
	shares[busiest] = left
	return shares
}

// firstShares leaves all but the floors to one place. If that isn't open, the last
// that is has it.
func firstShares(places []Place, first int) Shares {
	shares, left, open := make(Shares, len(places)), int64(shareUnits), -1
	for i, p := range places {
		if p.open() {
			shares[i], open = floorUnits, i
			left -= floorUnits
		}
	}
	if open < 0 {
		return shares
	}
	if !places[first].open() {
		first = open
	}
	shares[first] += left
	return shares
}

// Of is the part of a limit that place i gets, in requests per second.
func (s Shares) Of(limit *big.Rat, i int) *big.Rat {
	return new(big.Rat).Mul(limit, ratio(s[i], shareUnits))
}

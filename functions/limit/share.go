package limit

import (
	"math"
	"math/big"
)

const (
	// shareUnits is what the shares of a limit add up to.
	shareUnits = 1000
	// floorUnits is the share of an entry without any traffic. Its bucket holds a
	// request or more, and those that it refuses count as demand too, so a quiet
	// entry wakes however little it may admit.
	floorUnits = 1
	// shareTolerance is by how much of itself an entry's fair share must differ
	// from its present one before shares move: every move rewrites a slot.
	shareTolerance = 0.2
)

// Shares are the parts of a limit that each entry of a gateway gets, in units of
// 1/1000, in the order of gateway.Entries. They add up to 1000.
type Shares []int64

// NextShares divides a limit over entries in proportion to the demand seen at
// each (flow-proportional shares: Raghavan et al., Cloud Control with
// Distributed Rate Limiting, SIGCOMM 2007). Shares stay as they are while no
// entry's fair share differs by more than a fifth, and while there is no demand
// at all. Demand is in requests per second; current may be nil.
func NextShares(current Shares, demand []float64) Shares {
	if len(current) != len(demand) {
		current = firstEntry(len(demand))
	}
	fair := fairShares(demand)
	for i, f := range fair {
		if math.Abs(float64(f-current[i])) > shareTolerance*float64(current[i]) {
			return fair
		}
	}
	return current
}

// fairShares is nil without demand.
func fairShares(demand []float64) Shares {
	total, busiest := 0.0, 0
	for i, d := range demand {
		total += d
		if d > demand[busiest] {
			busiest = i
		}
	}
	if total <= 0 {
		return nil
	}
	shares, left := make(Shares, len(demand)), int64(shareUnits)
	for i, d := range demand {
		if i == busiest {
			continue
		}
		spare := float64(shareUnits - floorUnits*len(demand))
		shares[i] = floorUnits + int64(spare*d/total)
		left -= shares[i]
	}
	shares[busiest] = left
	return shares
}

// firstEntry leaves all but the floors to the first entry, the external one,
// until there is demand to go by.
func firstEntry(entries int) Shares {
	shares := make(Shares, entries)
	for i := range shares {
		shares[i] = floorUnits
	}
	shares[0] = shareUnits - floorUnits*int64(entries-1)
	return shares
}

// Of is the part of a limit that entry i of each of pods gateway pods may admit,
// in requests per second. Over all entries and pods the parts add up to the limit.
func (s Shares) Of(limit *big.Rat, i, pods int) *big.Rat {
	return new(big.Rat).Mul(limit, ratio(s[i], int64(shareUnits)*int64(max(1, pods))))
}

package limit

import (
	"math/big"
	"slices"
)

const (
	// divideAbove is the part of a limit up to which the demand lets each of
	// several gateways have the whole of it. A demand that rises slowly is seen
	// there before it is at the limit.
	divideAbove = 0.95
	// wholeBelow is the part of a limit below which, once it was divided, the
	// gateways have the whole of it again.
	wholeBelow = 0.8
	// tightAbove is the part of a limit above which demand leaves quiet entries no more
	// than a floor, roomyBelow that below which they have something again.
	tightAbove, roomyBelow = 0.8, 0.5
)

// Site is a gateway at which a limit is enforced.
type Site struct {
	// Gateway is its name.
	Gateway string
	// Places are its entries, in the order of gateway.Entries.
	Places []Place
}

// Division is how a limit is divided over the entries of the gateways at which it
// is enforced: one, or more while routes move.
//
// While the whole demand is below the limit, each gateway has all of it, and its
// entries share it alike: wherever the requests arrive from one moment to the next,
// none is refused. From then on the limit is divided over all places. A quiet entry
// that forwards has a twentieth while the demand is far below the limit, and next to
// nothing when it is near.
type Division struct {
	sites   []Site
	divided bool
	// demand is that of all entries of all gateways, in requests per second.
	demand float64
	// tight is true while there is no room to spare for quiet entries.
	tight bool
	// informed is true once shares come from demand.
	informed bool
	// shares of the places of one gateway or, if divided, of all, one after another.
	shares Shares
}

// Next returns the division for the sites, sorted by name, as they are now. The
// limit is in requests per second.
func (d Division) Next(sites []Site, limit float64) Division {
	merged := merge(sites)
	demand := 0.0
	for _, p := range merged {
		demand += p.demand()
	}
	divideAt, tightAt := divideAbove*limit, tightAbove*limit
	if d.divided {
		divideAt = wholeBelow * limit
	}
	if d.tight {
		tightAt = roomyBelow * limit
	}
	next := Division{sites: sites, demand: demand, divided: len(sites) > 1 && demand > divideAt, tight: demand > tightAt}
	places, quiet := merged, int64(wide)
	if next.divided {
		places = concat(sites)
	}
	if next.tight {
		quiet = narrow
	}
	next.shares = d.keep(next, places, limit)
	next.informed = demand > 0 || next.shares != nil
	if next.shares == nil {
		next.shares = fairShares(places, quiet, firstPlace(places))
	}
	return next
}

// keep returns the shares that were, for as long as they serve the next division of
// the places, else nil. Shares stay while there is no demand. While there is room to
// spare they stay until a place needs more than it has, and else until a fair share is
// too far off.
func (d Division) keep(next Division, places []Place, limit float64) Shares {
	switch {
	case !d.informed, next.divided != d.divided, !d.shares.fit(places):
		return nil
	case d.divided && !sameGateways(next.sites, d.sites):
		return nil
	case next.demand <= 0:
		return d.shares
	case next.tight != d.tight:
		return nil
	case next.tight && d.shares.near(fairShares(places, narrow, 0)),
		!next.tight && d.shares.cover(places, limit):
		return d.shares
	}
	return nil
}

// merge sums up what several gateways have at each entry.
func merge(sites []Site) []Place {
	if len(sites) == 0 {
		return nil
	}
	merged := slices.Clone(sites[0].Places)
	for _, s := range sites[1:] {
		for i, p := range s.Places {
			merged[i] = Place{Role: together(merged[i].Role, p.Role), Demand: merged[i].demand() + p.demand()}
		}
	}
	return merged
}

// together is the role of an entry of two gateways: what is absent at one of them
// may come to forward.
func together(a, b Role) Role {
	if a != b && a != Forwarding && b != Forwarding {
		return Absent
	}
	return max(a, b)
}

func concat(sites []Site) []Place {
	var places []Place
	for _, s := range sites {
		places = append(places, s.Places...)
	}
	return places
}

func sameGateways(a, b []Site) bool {
	return slices.EqualFunc(a, b, func(a, b Site) bool { return a.Gateway == b.Gateway })
}

// firstPlace is the first that forwards; entries for callers outside the cluster
// come first. As long as none does, it is the first that may.
func firstPlace(places []Place) int {
	if i := slices.IndexFunc(places, func(p Place) bool { return p.Role == Forwarding }); i >= 0 {
		return i
	}
	return max(0, slices.IndexFunc(places, Place.open))
}

// Of is the part of a limit that an entry of a site gets, in requests per second.
// An entry that only answers gets as much as the limit: it takes nothing from the
// others, and if it comes to forward, it is limited from the first request on.
func (d Division) Of(limit *big.Rat, site, entry int) *big.Rat {
	places := d.sites[site].Places
	if !places[entry].open() {
		return new(big.Rat).Set(limit)
	}
	if d.divided {
		entry += site * len(places)
	}
	return d.shares.Of(limit, entry)
}

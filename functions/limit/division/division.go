package division

import (
	"math/big"
	"slices"
	"time"
)

const (
	// divideAbove is the part of a limit up to which the demand lets each of
	// several gateways have the whole of it. A demand that rises slowly is seen
	// there before it is at the limit.
	divideAbove = 0.95
	// wholeBelow is the part of a limit below which, once it was divided, the
	// gateways have the whole of it again.
	wholeBelow = 0.8
	// patience is how long quiet places have had less than they could have before shares
	// move for their sake, and calm how long no place has needed more than it had. Between
	// them a demand that comes by chance would have shares go to and fro. None waits.
	patience, calm = 5 * time.Second, time.Minute
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
// none is refused. From then on the limit is divided over all places.
type Division struct {
	sites   []Site
	divided bool
	// demand is that of all entries of all gateways, in requests per second.
	demand float64
	// informed is true once shares come from demand.
	informed bool
	// short is since when quiet places have less than they could have; zero if they
	// don't. pressed is when a place last needed more than it had.
	short, pressed time.Time
	// shares of the places of one gateway or, if divided, of all, one after another.
	shares Shares
}

// Next returns the division for the sites, sorted by name, as they are now. The
// limit is in requests per second.
func (d Division) Next(sites []Site, limit float64, now time.Time) Division {
	merged := merge(sites)
	demand, divideAt := total(merged), divideAbove*limit
	if d.divided {
		divideAt = wholeBelow * limit
	}
	next := Division{sites: sites, demand: demand, divided: len(sites) > 1 && demand > divideAt, pressed: d.pressed}
	places := merged
	if next.divided {
		places = concat(sites)
	}
	next.informed = demand > 0 || (d.informed && d.goesOn(next, places))
	next.shares = fairShares(places, limit)
	if !d.goesOn(next, places) || (!d.informed && demand <= 0) {
		return next
	}
	// From here on shares move as they do at any time: what is seen first of a demand may be
	// the least part of it, by which its own place would get less than it had.
	switch {
	case demand <= 0, d.shares.near(next.shares):
	case !d.shares.cover(places, limit, next.shares):
		next.pressed = now
		return next
	case !d.shares.bear(places, limit, next.shares):
		if next.short = d.short; next.short.IsZero() {
			next.short = now
		}
		if now.Sub(next.short) >= patience && now.Sub(d.pressed) >= calm {
			next.short = time.Time{}
			return next
		}
	}
	next.shares = d.shares
	return next
}

// Stand returns the division for the sites before any demand is known: the one that
// was, if it is one for them.
func (d Division) Stand(sites []Site, limit float64, now time.Time) Division {
	next := Division{sites: sites, divided: d.divided, informed: d.informed, pressed: d.pressed, shares: d.shares}
	places := merge(sites)
	if d.divided {
		places = concat(sites)
	}
	if d.goesOn(next, places) {
		return next
	}
	return Division{}.Next(silent(sites), limit, now)
}

// goesOn is true if the shares can be those of the next division of the places, too.
func (d Division) goesOn(next Division, places []Place) bool {
	return next.divided == d.divided && d.shares.fit(places) && (!d.divided || sameGateways(next.sites, d.sites))
}

// Restore returns the division by which each of the sites had those shares; nil is for
// one of which none are known. There may be none such: then it is that of no demand.
func Restore(sites []Site, known []Shares) Division {
	none := Division{}.Next(silent(sites), 1, time.Time{})
	for _, s := range known {
		if s.fit(merge(sites)) {
			return Division{sites: sites, shares: s, informed: !slices.Equal(s, none.shares)}
		}
	}
	if all := slices.Concat(known...); all.fit(concat(sites)) {
		return Division{sites: sites, divided: true, shares: all, informed: true}
	}
	return none
}

// silent are sites without their demand.
func silent(sites []Site) []Site {
	out := make([]Site, len(sites))
	for i, s := range sites {
		out[i] = Site{Gateway: s.Gateway, Places: slices.Clone(s.Places)}
		for e := range out[i].Places {
			out[i].Places[e].Demand = 0
		}
	}
	return out
}

// merge sums up what several gateways have at each entry.
func merge(sites []Site) []Place {
	if len(sites) == 0 {
		return nil
	}
	merged := slices.Clone(sites[0].Places)
	for _, s := range sites[1:] {
		for i, p := range s.Places {
			merged[i] = Place{Role: together(merged[i].Role, p.Role), Demand: merged[i].demand() + p.demand(), Pods: max(merged[i].Pods, p.Pods)}
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

// Demand is that of all entries of all gateways, in requests per second: of requests
// that a route forwards.
func (d Division) Demand() float64 { return d.demand }

// Shares are those of a site's entries.
func (d Division) Shares(site int) Shares {
	if !d.divided {
		return d.shares
	}
	n := len(d.sites[site].Places)
	return d.shares[site*n : (site+1)*n]
}

// Of is the part of a limit that an entry of a site gets, in requests per second.
// An entry that only answers gets as much as the limit: it takes nothing from the
// others, and if it comes to forward, it is limited from the first request on.
func (d Division) Of(limit *big.Rat, site, entry int) *big.Rat {
	places := d.sites[site].Places
	if !places[entry].open() {
		return new(big.Rat).Set(limit)
	}
	return d.Shares(site).Of(limit, entry)
}

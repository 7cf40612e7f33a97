package division

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// plain is a gateway with a virtual service on the entries without certificates.
func plain(name string, external, local float64) Site {
	return Site{Gateway: name, Places: []Place{{Role: Forwarding, Demand: external}, {}, {Role: Forwarding, Demand: local}}}
}

// redirecting is one whose plain-HTTP entry only redirects to the HTTPS one.
func redirecting(name string, external, secure, local float64) Site {
	return Site{Gateway: name, Places: []Place{
		{Role: Answering, Demand: external}, {Role: Forwarding, Demand: secure}, {Role: Forwarding, Demand: local},
	}}
}

// of is a gateway with so many pods.
func of(pods int, s Site) Site {
	for i := range s.Places {
		s.Places[i].Pods = pods
	}
	return s
}

func detached(name string) Site {
	return Site{Gateway: name, Places: make([]Place, len(gateway.Entries()))}
}

// Each step is a pass with a limit of 1000, so many seconds after the one before: what
// each entry of each gateway gets.
func TestDivision(t *testing.T) {
	type step struct {
		name  string
		sites []Site
		after int
		want  [][]int64
	}
	tests := map[string][]step{
		"before there is a route or demand, the external entry has most of it": {
			{"no route", []Site{detached("a")}, 1, [][]int64{{998, 1, 1}}},
			{"a route", []Site{plain("a", 0, 0)}, 1, [][]int64{{949, 1, 50}}},
			{"HTTP only redirects", []Site{redirecting("a", 0, 0, 0)}, 1, [][]int64{{1000, 950, 50}}},
			{"no external entry", []Site{{Gateway: "a", Places: []Place{{}, {}, {Role: Forwarding}}}}, 1, [][]int64{{1, 1, 998}}},
		},
		"redirects are no demand": {
			{"", []Site{redirecting("a", 900, 30, 10)}, 1, [][]int64{{1000, 710, 290}}},
		},
		"far below the limit, shares stay until a place needs more": {
			{"external", []Site{plain("a", 400, 0)}, 1, [][]int64{{500, 1, 499}}},
			{"some local", []Site{plain("a", 400, 44)}, 9, [][]int64{{500, 1, 499}}},
			{"all local", []Site{plain("a", 0, 400)}, 9, [][]int64{{500, 1, 499}}},
			{"none", []Site{plain("a", 0, 0)}, 9, [][]int64{{500, 1, 499}}},
			{"more local", []Site{plain("a", 0, 500)}, 1, [][]int64{{374, 1, 625}}},
			{"it falls", []Site{plain("a", 0, 300)}, 1, [][]int64{{374, 1, 625}}},
		},
		"quiet places get more room once there was some for a while": {
			{"little external", []Site{plain("a", 20, 0)}, 1, [][]int64{{949, 1, 50}}},
			{"more", []Site{plain("a", 200, 0)}, 1, [][]int64{{949, 1, 50}}},
			{"not for long", []Site{plain("a", 200, 0)}, 4, [][]int64{{949, 1, 50}}},
			{"it falls", []Site{plain("a", 40, 0)}, 1, [][]int64{{949, 1, 50}}},
			{"it rises", []Site{plain("a", 200, 0)}, 1, [][]int64{{949, 1, 50}}},
			{"for long", []Site{plain("a", 200, 0)}, 5, [][]int64{{600, 1, 399}}},
			{"enough for twice the demand", []Site{plain("a", 350, 0)}, 60, [][]int64{{600, 1, 399}}},
		},
		"near the limit, a quiet place has a floor only": {
			{"far below", []Site{plain("a", 700, 0)}, 1, [][]int64{{874, 1, 125}}},
			{"near", []Site{plain("a", 810, 0)}, 1, [][]int64{{998, 1, 1}}},
			{"it falls, but not enough", []Site{plain("a", 650, 0)}, 60, [][]int64{{998, 1, 1}}},
			{"it falls", []Site{plain("a", 490, 0)}, 1, [][]int64{{998, 1, 1}}},
			{"for a while", []Site{plain("a", 490, 0)}, 60, [][]int64{{612, 1, 387}}},
			{"above it, by demand", []Site{plain("a", 1500, 1500)}, 1, [][]int64{{500, 1, 499}}},
			{"a fifth to and fro is let be", []Site{plain("a", 1500, 1300)}, 1, [][]int64{{500, 1, 499}}},
			{"more is not", []Site{plain("a", 1500, 500)}, 1, [][]int64{{749, 1, 250}}},
		},
		"a move that nobody notices": {
			{"at the first gateway, mostly local", []Site{plain("a", 100, 300)}, 1, [][]int64{{500, 1, 499}}},
			{"no route at the second yet", []Site{plain("a", 100, 300), detached("b")}, 1, [][]int64{{500, 1, 499}, {500, 1, 499}}},
			{"routes at both", []Site{plain("a", 100, 300), plain("b", 0, 0)}, 1, [][]int64{{500, 1, 499}, {500, 1, 499}}},
			{"the address flips", []Site{plain("a", 50, 150), plain("b", 50, 150)}, 1, [][]int64{{500, 1, 499}, {500, 1, 499}}},
			{"drained", []Site{plain("a", 0, 0), plain("b", 100, 300)}, 1, [][]int64{{500, 1, 499}, {500, 1, 499}}},
			{"the first is left", []Site{plain("b", 100, 300)}, 1, [][]int64{{500, 1, 499}}},
		},
		"a move under more than the limit": {
			{"at the first", []Site{plain("a", 3000, 0)}, 1, [][]int64{{998, 1, 1}}},
			{"at both: by demand", []Site{plain("a", 1500, 0), plain("b", 1500, 0)}, 1, [][]int64{{498, 1, 1}, {498, 1, 1}}},
			{"it falls, but not enough", []Site{plain("a", 450, 0), plain("b", 450, 0)}, 1, [][]int64{{498, 1, 1}, {498, 1, 1}}},
			{"it falls", []Site{plain("a", 350, 0), plain("b", 350, 0)}, 1, [][]int64{{874, 1, 125}, {874, 1, 125}}},
			{"it rises, but not enough", []Site{plain("a", 380, 0), plain("b", 380, 0)}, 1, [][]int64{{874, 1, 125}, {874, 1, 125}}},
			{"it rises", []Site{plain("a", 900, 0), plain("b", 100, 0)}, 1, [][]int64{{896, 1, 1}, {100, 1, 1}}},
		},
		"certificates come to one gateway before the other": {
			{"", []Site{redirecting("a", 0, 300, 100), plain("b", 0, 0)}, 1, [][]int64{{1000, 376, 312}, {312, 376, 312}}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var d Division
			now := time.Unix(0, 0)
			for _, s := range steps {
				now = now.Add(time.Duration(s.after) * time.Second)
				d = d.Next(s.sites, 1000, now)
				for i, want := range s.want {
					for e, w := range want {
						if got := d.Of(big.NewRat(1000, 1), i, e); got.Cmp(big.NewRat(w, 1)) != 0 {
							t.Errorf("%s: %s at %s gets %s, want %d", s.name, gateway.Entries()[e].Name, s.sites[i].Gateway, got.RatString(), w)
						}
					}
				}
			}
		})
	}
}

// steps is a time that goes on.
type steps struct{ now time.Time }

func (s *steps) Add(t *rapid.T) time.Time {
	s.now = s.now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "seconds")) * time.Second)
	return s.now
}

func genSites(t *rapid.T) []Site {
	names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "gateways")]
	sites := make([]Site, len(names))
	for i, name := range names {
		sites[i] = Site{Gateway: name, Places: rapid.SliceOfN(rapid.Custom(genPlace), 3, 3).Draw(t, name)}
	}
	return sites
}

// Through whatever steps, places that forward get no more than the limit: over all
// gateways once the demand is at it, at each gateway before. None is left without a
// part to wake by.
func TestDivisionAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Division
		clock := steps{}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			limit := big.NewRat(rapid.Int64Range(1, 1e9).Draw(t, "limit"), 1000)
			rate, _ := limit.Float64()
			sites := genSites(t)
			d = d.Next(sites, rate, clock.Add(t))
			demand, total := 0.0, new(big.Rat)
			for i, s := range sites {
				sum := new(big.Rat)
				for e, p := range s.Places {
					part := d.Of(limit, i, e)
					if part.Sign() <= 0 {
						t.Fatalf("entry %d of %v gets %s", e, s, part)
					}
					if p.open() {
						sum.Add(sum, part)
					}
					demand += p.demand()
				}
				if sum.Cmp(limit) > 0 {
					t.Fatalf("%v gets %s of %s", s, sum, limit)
				}
				total.Add(total, sum)
			}
			if demand > divideAbove*rate && total.Cmp(limit) > 0 {
				t.Fatalf("%v get %s of %s together at a demand of %g", sites, total, limit, demand)
			}
		}
	})
}

// Up to four fifths of the limit, wherever the demand goes next, no place is
// offered more than it admits: shares may be a fifth off.
func TestNobodyIsRefusedBelowTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Division
		clock := steps{}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			sites := genSites(t)
			demand := 0.0
			for _, p := range merge(sites) {
				demand += p.demand()
			}
			if demand == 0 {
				continue
			}
			rate := demand / rapid.Float64Range(0.01, 0.8).Draw(t, "load")
			limit := new(big.Rat).SetFloat64(rate)
			d = d.Next(sites, rate, clock.Add(t))
			for i, s := range sites {
				for e, p := range s.Places {
					if part, _ := d.Of(limit, i, e).Float64(); part < p.demand()*(1-1e-9) {
						t.Fatalf("%g requests/s at entry %d of %s, which gets %g of %g", p.demand(), e, s.Gateway, part, rate)
					}
				}
			}
		}
	})
}

// genDemand draws a demand at n places that all forward, which is so much together.
func genDemand(t *rapid.T, n int, demand float64) []Place {
	places := at(rapid.SliceOfN(rapid.Float64Range(0, 1), n, n).Draw(t, "at")...)
	of := total(places)
	for i := range places {
		if places[i].Demand *= demand / of; of < 1e-6 {
			places[i].Demand = demand / float64(n)
		}
	}
	return places
}

// Whatever was before, once the demand was below four fifths of an equal part of the limit
// for a while, all of it may turn up anywhere. Over several pods, that is of what is left
// when it has twice what it needs where it is.
func TestAChangeOfEntryRefusesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Division
		now, n := time.Unix(0, 0), rapid.IntRange(1, 3).Draw(t, "entries")
		pods, parts := rapid.IntRange(1, 3).Draw(t, "pods"), float64(n)
		if pods > 1 {
			parts += uneven/load - 1
		}
		limit := rapid.Float64Range(1, 1e4).Draw(t, "limit")
		pass := func(demand float64, after time.Duration) {
			now = now.Add(after)
			d = d.Next([]Site{of(pods, Site{Gateway: "a", Places: genDemand(t, n, demand)})}, limit, now)
		}
		for range rapid.IntRange(0, 4).Draw(t, "passes") {
			pass(limit*rapid.Float64Range(0, 3).Draw(t, "before"), time.Second)
		}
		demand := load / parts * limit * rapid.Float64Range(0.01, 1).Draw(t, "load")
		for range 14 {
			pass(demand, 5*time.Second)
		}
		for i, share := range d.shares {
			if got := d.shares.rate(limit, i); got < demand {
				t.Fatalf("%d of %d: %d gets %g of %g, the demand is %g", share, n, i, got, limit, demand)
			}
		}
		// And of one pod it does so without another move.
		was := d.shares
		pass(demand, 0)
		if pods == 1 && !slices.Equal(was, d.shares) {
			t.Fatalf("%v became %v at the same demand", was, d.shares)
		}
	})
}

// At a demand that varies as one does that comes by chance, shares come to rest.
func TestSharesRest(t *testing.T) {
	for _, tt := range []struct {
		limit float64
		most  int
	}{{10, 40}, {100, 15}, {1000, 0}} {
		for _, pods := range []int{1, 2} {
			for _, load := range []float64{.05, .2, .39, .42, .45, .55, .65, .7, .75, .79, .85, .99, 1.5} {
				demand := load * tt.limit
				random, now, moves := rand.New(rand.NewPCG(1, 1)), time.Unix(0, 0), 0
				var d Division
				seen := demand
				for second := range 1000 {
					// Requests that come by chance, averaged as the demand is.
					seen = max(0, seen/2+(demand+math.Sqrt(demand)*random.NormFloat64())/2)
					was := d.shares
					now = now.Add(time.Second)
					d = d.Next([]Site{of(pods, plain("a", seen, 0))}, tt.limit, now)
					if second > 30 && !slices.Equal(was, d.shares) {
						moves++
					}
				}
				t.Logf("%d pods, limit %g, demand %g: %d moves in 1000 s", pods, tt.limit, demand, moves)
				if moves > tt.most {
					t.Errorf("at %d pods, a demand of %g and a limit of %g shares moved %d times", pods, demand, tt.limit, moves)
				}
			}
		}
	}
}

// What stands until the demand is known is what was, as far as it is one for the sites;
// then the next goes on from there.
func TestStand(t *testing.T) {
	now := time.Unix(0, 0)
	local := []Site{plain("a", 0, 700)}
	both := []Site{plain("a", 1500, 0), plain("b", 1500, 0)}
	for name, tt := range map[string]struct {
		was, sites []Site
		same       bool
	}{
		"most of it at the local entry": {local, local, true},
		"another gateway comes":         {local, []Site{plain("a", 0, 0), detached("b")}, true},
		"divided over two":              {both, both, true},
		"one of them left":              {both, []Site{plain("b", 0, 0)}, false},
		"another entry":                 {local, []Site{redirecting("a", 0, 0, 0)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			was := Division{}.Next(tt.was, 1000, now)
			known := make([]Shares, len(tt.sites))
			for i := range min(len(tt.was), len(known)) {
				known[i] = was.Shares(i)
			}
			if tt.same {
				if got := Restore(tt.sites, known).Stand(silent(tt.sites), 1000, now); !slices.Equal(got.shares, was.shares) || got.divided != was.divided {
					t.Errorf("%v stand, want %v", got.shares, was.shares)
				}
			}
			stands := was.Stand(silent(tt.sites), 1000, now)
			none := Division{}.Next(silent(tt.sites), 1000, now)
			want := none.shares
			if tt.same {
				want = was.shares
			}
			if !slices.Equal(stands.shares, want) {
				t.Errorf("%v stand, want %v", stands.shares, want)
			}
			if next := stands.Next(tt.was, 1000, now); tt.same && len(tt.was) == len(tt.sites) && !slices.Equal(next.shares, was.shares) {
				t.Errorf("%v with the same demand, want %v", next.shares, was.shares)
			}
		})
	}
	for name, known := range map[string][]Shares{
		"nothing": {nil}, "too few": {{500, 500}}, "too little": {{500, 1, 400}}, "one without any": {{999, 0, 1}}, "negative": {{1500, 1, -501}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := Restore(local, known), (Division{}).Next(silent(local), 1000, now); !slices.Equal(got.shares, want.shares) || got.informed {
				t.Errorf("Restore(%v) = %v, want %v", known, got.shares, want.shares)
			}
		})
	}
}

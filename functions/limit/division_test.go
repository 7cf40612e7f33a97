package limit

import (
	"math/big"
	"testing"

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

func detached(name string) Site {
	return Site{Gateway: name, Places: make([]Place, len(gateway.Entries()))}
}

// Each step is a pass with a limit of 1000: what each entry of each gateway gets.
func TestDivision(t *testing.T) {
	type step struct {
		name  string
		sites []Site
		want  [][]int64
	}
	tests := map[string][]step{
		"before there is a route or demand, the external entry has most of it": {
			{"no route", []Site{detached("a")}, [][]int64{{998, 1, 1}}},
			{"a route", []Site{plain("a", 0, 0)}, [][]int64{{949, 1, 50}}},
			{"HTTP only redirects", []Site{redirecting("a", 0, 0, 0)}, [][]int64{{1000, 950, 50}}},
			{"no external entry", []Site{{Gateway: "a", Places: []Place{{}, {}, {Role: Forwarding}}}}, [][]int64{{1, 1, 998}}},
		},
		"redirects are no demand": {
			{"", []Site{redirecting("a", 900, 30, 10)}, [][]int64{{1000, 725, 275}}},
		},
		"far below the limit, shares stay until a place needs more": {
			{"external", []Site{plain("a", 400, 0)}, [][]int64{{949, 1, 50}}},
			{"some local", []Site{plain("a", 400, 44)}, [][]int64{{949, 1, 50}}},
			{"more local", []Site{plain("a", 300, 100)}, [][]int64{{725, 1, 274}}},
			{"none", []Site{plain("a", 0, 0)}, [][]int64{{725, 1, 274}}},
			{"all local, within its part", []Site{plain("a", 0, 240)}, [][]int64{{725, 1, 274}}},
			{"all local", []Site{plain("a", 0, 300)}, [][]int64{{50, 1, 949}}},
		},
		"near the limit, a quiet place has a floor only": {
			{"far below", []Site{plain("a", 700, 0)}, [][]int64{{949, 1, 50}}},
			{"near", []Site{plain("a", 810, 0)}, [][]int64{{998, 1, 1}}},
			{"it falls, but not enough", []Site{plain("a", 510, 0)}, [][]int64{{998, 1, 1}}},
			{"it falls", []Site{plain("a", 490, 0)}, [][]int64{{949, 1, 50}}},
			{"above it, by demand", []Site{plain("a", 1500, 1500)}, [][]int64{{499, 1, 500}}},
			{"a fifth to and fro is let be", []Site{plain("a", 1500, 1300)}, [][]int64{{499, 1, 500}}},
			{"more is not", []Site{plain("a", 1500, 500)}, [][]int64{{749, 1, 250}}},
		},
		"a move that nobody notices": {
			{"at the first gateway, mostly local", []Site{plain("a", 100, 300)}, [][]int64{{274, 1, 725}}},
			{"no route at the second yet", []Site{plain("a", 100, 300), detached("b")}, [][]int64{{274, 1, 725}, {274, 1, 725}}},
			{"routes at both", []Site{plain("a", 100, 300), plain("b", 0, 0)}, [][]int64{{274, 1, 725}, {274, 1, 725}}},
			{"the address flips", []Site{plain("a", 50, 150), plain("b", 50, 150)}, [][]int64{{274, 1, 725}, {274, 1, 725}}},
			{"drained", []Site{plain("a", 0, 0), plain("b", 100, 300)}, [][]int64{{274, 1, 725}, {274, 1, 725}}},
			{"the first is left", []Site{plain("b", 100, 300)}, [][]int64{{274, 1, 725}}},
		},
		"a move under more than the limit": {
			{"at the first", []Site{plain("a", 3000, 0)}, [][]int64{{998, 1, 1}}},
			{"at both: by demand", []Site{plain("a", 1500, 0), plain("b", 1500, 0)}, [][]int64{{498, 1, 1}, {498, 1, 1}}},
			{"it falls, but not enough", []Site{plain("a", 450, 0), plain("b", 450, 0)}, [][]int64{{498, 1, 1}, {498, 1, 1}}},
			{"it falls", []Site{plain("a", 350, 0), plain("b", 350, 0)}, [][]int64{{998, 1, 1}, {998, 1, 1}}},
			{"it rises, but not enough", []Site{plain("a", 450, 0), plain("b", 450, 0)}, [][]int64{{998, 1, 1}, {998, 1, 1}}},
			{"it rises", []Site{plain("a", 900, 0), plain("b", 100, 0)}, [][]int64{{896, 1, 1}, {100, 1, 1}}},
		},
		"certificates come to one gateway before the other": {
			{"", []Site{redirecting("a", 0, 300, 100), plain("b", 0, 0)}, [][]int64{{1000, 688, 262}, {50, 688, 262}}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var d Division
			for _, s := range steps {
				d = d.Next(s.sites, 1000)
				for i, want := range s.want {
					for e, w := range want {
						if got := d.Of(ratio(1000, 1), i, e); got.Cmp(ratio(w, 1)) != 0 {
							t.Errorf("%s: %s at %s gets %s, want %d", s.name, gateway.Entries()[e].Name, s.sites[i].Gateway, got.RatString(), w)
						}
					}
				}
			}
		})
	}
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
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			limit := ratio(rapid.Int64Range(1, 1e9).Draw(t, "limit"), 1000)
			rate, _ := limit.Float64()
			sites := genSites(t)
			d = d.Next(sites, rate)
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
			d = d.Next(sites, rate)
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

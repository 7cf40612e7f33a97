package limit

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// at are places that forward, with so much demand.
func at(demand ...float64) []Place {
	places := make([]Place, len(demand))
	for i, d := range demand {
		places[i] = Place{Role: Forwarding, Demand: d}
	}
	return places
}

func TestNextShares(t *testing.T) {
	redirects := []Place{{Role: Answering, Demand: 500}, {Role: Forwarding, Demand: 30}, {Role: Forwarding, Demand: 10}}
	tests := []struct {
		name    string
		current Shares
		places  []Place
		want    Shares
	}{
		{"nothing known: the first, and a floor", nil, at(0, 0), Shares{999, 1}},
		{"all external", nil, at(100, 0), Shares{999, 1}},
		{"all local", Shares{999, 1}, at(0, 100), Shares{1, 999}},
		{"even", Shares{999, 1}, at(50, 50), Shares{500, 500}},
		{"a small change moves nothing", Shares{500, 500}, at(55, 50), Shares{500, 500}},
		{"no demand moves nothing", Shares{1, 999}, at(0, 0), Shares{1, 999}},
		{"redirects take nothing", nil, redirects, Shares{0, 750, 250}},
		{"nor at first", nil, []Place{{Role: Answering}, {Role: Absent}}, Shares{0, 1000}},
		{"nothing is forwarded anywhere", nil, []Place{{Role: Answering}, {Role: Answering}}, Shares{0, 0}},
		{"what has no route keeps its floor", nil, []Place{{Role: Forwarding, Demand: 1}, {Demand: 1}}, Shares{999, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := NextShares(tt.current, tt.places, 0); !slices.Equal(got, tt.want) {
				t.Errorf("NextShares() = %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever the demand, the parts add up to the limit, and no place is left without
// a part to wake by.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SliceOfN(rapid.Custom(genPlace), 2, 9).Draw(t, "places")
		places[0].Role = Forwarding
		limit := ratio(rapid.Int64Range(1, 1e9).Draw(t, "limit"), 1000)
		shares := NextShares(nil, places, 0)
		sum := new(big.Rat)
		for i, p := range places {
			part := shares.Of(limit, i)
			if p.open() != (part.Sign() > 0) {
				t.Fatalf("place %d of %v gets %s", i, places, part)
			}
			sum.Add(sum, part)
		}
		if sum.Cmp(limit) != 0 {
			t.Fatalf("%v of %s add up to %s", shares, limit, sum)
		}
	})
}

func genPlace(t *rapid.T) Place {
	return Place{
		Role:   rapid.SampledFrom([]Role{Absent, Answering, Forwarding}).Draw(t, "role"),
		Demand: rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1e6)).Draw(t, "demand"),
	}
}

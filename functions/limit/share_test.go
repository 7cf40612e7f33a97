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

func TestFairShares(t *testing.T) {
	redirects := []Place{{Role: Answering, Demand: 500}, {Role: Forwarding, Demand: 30}, {Role: Forwarding, Demand: 10}}
	tests := []struct {
		name   string
		places []Place
		quiet  int64
		want   Shares
	}{
		{"nothing known: the first, and a floor", at(0, 0), wide, Shares{950, 50}},
		{"what has no route keeps the least floor", []Place{{Role: Forwarding, Demand: 1}, {Demand: 1}}, wide, Shares{999, 1}},
		{"all external", at(100, 0), narrow, Shares{999, 1}},
		{"all local", at(0, 100), narrow, Shares{1, 999}},
		{"even", at(50, 50), narrow, Shares{500, 500}},
		{"by demand, beside a wide floor", at(75, 25), wide, Shares{725, 275}},
		{"redirects take nothing", redirects, narrow, Shares{0, 750, 250}},
		{"nor at first", []Place{{Role: Answering}, {Role: Absent}}, wide, Shares{0, 1000}},
		{"nothing is forwarded anywhere", []Place{{Role: Answering}, {Role: Answering}}, wide, Shares{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fairShares(tt.places, tt.quiet, 0); !slices.Equal(got, tt.want) {
				t.Errorf("fairShares() = %v, want %v", got, tt.want)
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
		shares := fairShares(places, rapid.SampledFrom([]int64{narrow, wide}).Draw(t, "quiet"), 0)
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

package division

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
	redirects := []Place{{Role: Answering, Demand: 5000}, {Role: Forwarding, Demand: 1500}, {Role: Forwarding, Demand: 500}}
	tests := []struct {
		name   string
		places []Place
		want   Shares
	}{
		{"nothing known: the first, and some for others", at(0, 0), Shares{950, 50}},
		{"one place", at(400), Shares{1000}},
		{"little: twice of it anywhere, the rest where it is", at(100, 0), Shares{800, 200}},
		{"that of all together", at(60, 40), Shares{560, 440}},
		{"all of it anywhere", at(400, 0), Shares{500, 500}},
		{"as much as is left", at(600, 0), Shares{750, 250}},
		{"for those that have least", at(450, 150, 0), Shares{562, 219, 219}},
		{"at a third of the limit, three places", at(0, 260, 0), Shares{333, 334, 333}},
		{"nothing is left", at(800, 0), Shares{999, 1}},
		{"all at another", at(0, 1000), Shares{1, 999}},
		{"by demand", at(1500, 500), Shares{750, 250}},
		{"what has no route keeps the least", []Place{{Role: Forwarding, Demand: 100}, {Demand: 100}}, Shares{999, 1}},
		{"redirects take nothing", redirects, Shares{0, 750, 250}},
		{"nor at first", []Place{{Role: Answering}, {Role: Absent}}, Shares{0, 1000}},
		{"nothing is forwarded anywhere", []Place{{Role: Answering}, {Role: Answering}}, Shares{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fairShares(tt.places, 1000); !slices.Equal(got, tt.want) {
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
		limit := big.NewRat(rapid.Int64Range(1, 1e9).Draw(t, "limit"), 1000)
		rate, _ := limit.Float64()
		shares := fairShares(places, rate)
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

// As long as the demand is below four fifths of an equal part of the limit, each place
// has room for all of it.
func TestSharesBearTheDemandAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := at(rapid.SliceOfN(rapid.Float64Range(0, 1000), 1, 9).Draw(t, "demand")...)
		demand := total(places)
		if demand == 0 {
			return
		}
		limit := demand * float64(len(places)) / (load * rapid.Float64Range(0.01, 1).Draw(t, "load"))
		shares := fairShares(places, limit)
		for i := range places {
			if part := shares.rate(limit, i); part*comfort < demand {
				t.Fatalf("%v: place %d gets %g of %g, the demand is %g", places, i, part, limit, demand)
			}
		}
	})
}

// Of more demand no place that has less gets more.
func TestSharesFollowTheDemand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := at(rapid.SliceOfN(rapid.Float64Range(0, 1000), 2, 9).Draw(t, "demand")...)
		shares := fairShares(places, rapid.Float64Range(1, 2000).Draw(t, "limit"))
		for i := range places {
			for j := range places {
				if places[i].Demand < places[j].Demand && shares[i] > shares[j]+int64(len(places)) {
					t.Fatalf("%v get %v", places, shares)
				}
			}
		}
	})
}

func TestLevel(t *testing.T) {
	for _, tt := range []struct {
		parts []float64
		want  float64
	}{
		{[]float64{0, 0}, .5}, {[]float64{.5, 0}, .5}, {[]float64{.75, 0}, .25}, {[]float64{.25, .5, 0}, .25}, {[]float64{1, 0}, 0},
	} {
		if got := level(slices.Clone(tt.parts), len(tt.parts)); got != tt.want {
			t.Errorf("level(%v) = %g, want %g", tt.parts, got, tt.want)
		}
	}
}

func genPlace(t *rapid.T) Place {
	return Place{
		Role:   rapid.SampledFrom([]Role{Absent, Answering, Forwarding}).Draw(t, "role"),
		Demand: rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1e6)).Draw(t, "demand"),
	}
}

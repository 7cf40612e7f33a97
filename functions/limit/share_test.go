package limit

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNextShares(t *testing.T) {
	tests := []struct {
		name    string
		current Shares
		demand  []float64
		want    Shares
	}{
		{"nothing known: the external entry, and a floor", nil, []float64{0, 0}, Shares{999, 1}},
		{"all external", nil, []float64{100, 0}, Shares{999, 1}},
		{"all local", Shares{999, 1}, []float64{0, 100}, Shares{1, 999}},
		{"even", Shares{999, 1}, []float64{50, 50}, Shares{500, 500}},
		{"a small change moves nothing", Shares{500, 500}, []float64{55, 50}, Shares{500, 500}},
		{"no demand moves nothing", Shares{1, 999}, []float64{0, 0}, Shares{1, 999}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := NextShares(tt.current, tt.demand); !slices.Equal(got, tt.want) {
				t.Errorf("NextShares() = %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever the demand, the parts add up to the limit, and no entry is left
// without a part to wake by.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		demand := rapid.SliceOfN(rapid.Float64Range(0, 1e6), 2, 4).Draw(t, "demand")
		pods := rapid.IntRange(1, 20).Draw(t, "pods")
		limit := ratio(rapid.Int64Range(1, 1e9).Draw(t, "limit"), 1000)
		shares := NextShares(nil, demand)
		sum := new(big.Rat)
		for i := range shares {
			part := shares.Of(limit, i, pods)
			if part.Sign() <= 0 {
				t.Fatalf("entry %d of %v gets nothing", i, shares)
			}
			sum.Add(sum, part.Mul(part, ratio(int64(pods), 1)))
		}
		if sum.Cmp(limit) != 0 {
			t.Fatalf("%v of %s add up to %s", shares, limit, sum)
		}
	})
}

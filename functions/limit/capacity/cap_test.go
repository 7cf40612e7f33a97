package capacity

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// Under a cap the sum never exceeds it, proportions are kept, and nothing changes
// where it isn't exceeded.
func TestUnderCap(t *testing.T) {
	rate := rapid.Custom(func(t *rapid.T) *big.Rat {
		return big.NewRat(rapid.Int64Range(1, 1e12).Draw(t, "a"), rapid.Int64Range(1, 1e6).Draw(t, "b"))
	})
	rapid.Check(t, func(t *rapid.T) {
		limits, most := rapid.SliceOfN(rate, 1, 20).Draw(t, "limits"), rate.Draw(t, "cap")
		got := UnderCap(limits, most)
		before, sum := new(big.Rat), new(big.Rat)
		for i := range limits {
			before.Add(before, limits[i])
			sum.Add(sum, got[i])
		}
		want := most
		if before.Cmp(most) < 0 {
			want = before
		}
		if sum.Cmp(want) != 0 {
			t.Fatalf("limits of %s under a cap of %s add up to %s", before, most, sum)
		}
		for i := range limits {
			if a, b := new(big.Rat).Mul(limits[0], got[i]), new(big.Rat).Mul(limits[i], got[0]); a.Cmp(b) != 0 {
				t.Fatalf("%s and %s became %s and %s", limits[0], limits[i], got[0], got[i])
			}
		}
	})
}

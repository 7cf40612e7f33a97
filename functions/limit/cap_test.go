package limit

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Under a cap the sum never exceeds it, proportions are kept, and nothing changes
// where it isn't exceeded.
func TestUnderCap(t *testing.T) {
	rate := rapid.Custom(func(t *rapid.T) *big.Rat {
		return ratio(rapid.Int64Range(1, 1e12).Draw(t, "a"), rapid.Int64Range(1, 1e6).Draw(t, "b"))
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

func TestApplyCaps(t *testing.T) {
	limited := func(name string, rate, most int64) plan {
		p := plan{of: &v1alpha1.RateLimit{}, uncapped: ratio(rate, 1)}
		if most > 0 {
			p.of.Spec.Cap, p.cap = &v1alpha1.RateLimitCap{Name: name}, ratio(most, 1)
		}
		return p
	}
	refused := limited("a", 1000, 1)
	refused.err = errors.New("refused")
	gone := limited("b", 60, 90)
	gone.gone = true
	plans := []plan{
		limited("a", 50, 100), limited("a", 150, 100), // half of each
		limited("b", 30, 45), gone, // they disagree, and one is gone while its route is not
		limited("c", 10, 100), limited("", 700, 0), refused,
	}
	applyCaps(plans)
	for i, want := range []*big.Rat{ratio(25, 1), ratio(75, 1), ratio(15, 1), ratio(30, 1), ratio(10, 1), ratio(700, 1)} {
		if got := plans[i].limit; got.Cmp(want) != 0 {
			t.Errorf("limit %d = %s, want %s", i, got.RatString(), want.RatString())
		}
	}
}

package limit

import (
	"errors"
	"math/big"
	"testing"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func TestApplyCaps(t *testing.T) {
	limited := func(name string, rate, most int64) plan {
		p := plan{of: &v1alpha1.RateLimit{}, uncapped: big.NewRat(rate, 1)}
		if most > 0 {
			p.of.Spec.Cap, p.cap = &v1alpha1.RateLimitCap{Name: name}, big.NewRat(most, 1)
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
	for i, want := range []*big.Rat{big.NewRat(25, 1), big.NewRat(75, 1), big.NewRat(15, 1), big.NewRat(30, 1), big.NewRat(10, 1), big.NewRat(700, 1)} {
		if got := plans[i].limit; got.Cmp(want) != 0 {
			t.Errorf("limit %d = %s, want %s", i, got.RatString(), want.RatString())
		}
	}
}

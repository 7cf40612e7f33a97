package bounds

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// exact is the same in rational numbers: of n, k or more, each with percent of a hundred.
func exact(k, n, percent int64) float64 {
	p := big.NewRat(percent, 100)
	q := new(big.Rat).Sub(big.NewRat(1, 1), p)
	sum := new(big.Rat)
	for i := k; i <= n; i++ {
		term := new(big.Rat).SetInt(new(big.Int).Binomial(n, i))
		for range i {
			term.Mul(term, p)
		}
		for range n - i {
			term.Mul(term, q)
		}
		sum.Add(sum, term)
	}
	f, _ := sum.Float64()
	return f
}

func TestChance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 40).Draw(t, "requests")
		k := rapid.Int64Range(0, n).Draw(t, "bad ones")
		percent := rapid.Int64Range(1, 99).Draw(t, "allowed")
		got, want := chanceOf(k, n, float64(percent)/100), exact(k, n, percent)
		if k*100 <= n*percent {
			want = 1 // of no interest: what is allowed isn't passed
		}
		if math.Abs(got-want) > 1e-9*want {
			t.Errorf("chanceOf(%d, %d, %d %%) = %g, want %g", k, n, percent, got, want)
		}
	})
}

// More bad requests are never more likely, however many there are.
func TestChanceFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1_000_000).Draw(t, "requests")
		k := rapid.Int64Range(0, n).Draw(t, "bad ones")
		p := rapid.Float64Range(0, 1).Draw(t, "allowed")
		fewer, more := chanceOf(k, n, p), chanceOf(k+1, n, p)
		if math.IsNaN(fewer) || fewer < 0 || fewer > 1 || more > fewer*(1+1e-6) {
			t.Errorf("of %d at %g: %d with %g, one more with %g", n, p, k, fewer, more)
		}
	})
}

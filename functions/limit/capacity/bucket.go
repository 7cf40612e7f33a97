package capacity

import (
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/resources"
)

const (
	// minFill is the shortest fill interval that Envoy accepts.
	minFill = resources.MinFill
	// maxFill is the longest fill interval. Envoy fills a bucket continuously at
	// tokens / interval, so a long interval is as smooth as a short one.
	maxFill = 100_000_000 * time.Second
	// maxTokens is the largest number of tokens that Envoy's field holds.
	maxTokens = 1<<32 - 1
)

// Bucket is a token bucket as Envoy's local rate limit filter has it.
type Bucket struct {
	// MaxTokens is its depth, in requests: at least 2.
	MaxTokens uint32
	// Tokens are added in each Fill: at least 1.
	Tokens uint32
	// Fill is a whole number of milliseconds, which is what Envoy reads of it.
	Fill time.Duration
}

// NewBucket returns the bucket that fills at rate requests per second and holds
// burst of it, rounded up, and one request more: requests don't come evenly, and a
// bucket that holds just one loses every token that a gap leaves it. Tokens/Fill equals the
// rate exactly wherever Envoy's fields can say it: for any rate a/b in lowest terms with
// a < 2³² and b up to 10⁸. Elsewhere it is less than a millionth below, down to the rate of
// one in maxFill, which is the least that there is; Envoy itself knows none below one a year.
func NewBucket(rate *big.Rat, burst time.Duration) Bucket {
	// tokens = rate * fill/1000 is whole just when fill, in milliseconds, is a
	// multiple of the denominator of what comes in one.
	a := new(big.Rat).Quo(rate, big.NewRat(1000, 1))
	most := maxFill.Milliseconds()
	if !a.Denom().IsInt64() || a.Denom().Int64() > most {
		a = below(a, most)
	}
	step := a.Denom().Int64()
	fill := (minFill.Milliseconds() + step - 1) / step * step
	// A rate too large for the interval gets a shorter one, rounded down.
	for fill > minFill.Milliseconds() && tokensIn(rate, fill).Cmp(big.NewInt(maxTokens)) > 0 {
		fill = max(minFill.Milliseconds(), fill/2)
	}
	if a.Sign() == 0 {
		fill = most
	}
	return Bucket{
		MaxTokens: depth(rate, burst),
		Tokens:    clampTokens(tokensIn(rate, fill)),
		Fill:      time.Duration(fill) * time.Millisecond,
	}
}

// below is the largest fraction up to r, which is positive and is none such itself, whose
// denominator is at most most: it walks down the Stern-Brocot tree, as many steps at once
// as go in one direction.
func below(r *big.Rat, most int64) *big.Rat {
	// lo ≤ r < hi; both as numerator and denominator, as hi begins at 1/0.
	loN, loD, hiN, hiD := big.NewInt(0), big.NewInt(1), big.NewInt(1), big.NewInt(0)
	limit := big.NewInt(most)
	mul := func(x, y *big.Int) *big.Int { return new(big.Int).Mul(x, y) }
	for new(big.Int).Add(loD, hiD).Cmp(limit) <= 0 {
		// How far each is from r, times a common denominator.
		under := new(big.Int).Sub(mul(r.Num(), loD), mul(r.Denom(), loN))
		over := new(big.Int).Sub(mul(r.Denom(), hiN), mul(r.Num(), hiD))
		if under.Sign() == 0 {
			break
		}
		// lo moves as long as it doesn't get beyond r.
		steps := atMost(new(big.Int).Quo(under, over), limit, loD, hiD)
		loN.Add(loN, mul(steps, hiN))
		loD.Add(loD, mul(steps, hiD))
		if under.Sub(under, mul(steps, over)); under.Sign() == 0 {
			break
		}
		// hi moves as long as it stays beyond it.
		steps = atMost(new(big.Int).Quo(over.Sub(over, big.NewInt(1)), under), limit, hiD, loD)
		hiN.Add(hiN, mul(steps, loN))
		hiD.Add(hiD, mul(steps, loD))
	}
	return new(big.Rat).SetFrac(loN, loD)
}

// atMost bounds steps of a size, from a denominator on, by a limit.
func atMost(steps, limit, from, size *big.Int) *big.Int {
	if size.Sign() == 0 {
		return steps
	}
	room := new(big.Int).Quo(new(big.Int).Sub(limit, from), size)
	if room.Cmp(steps) < 0 {
		return room
	}
	return steps
}

func depth(rate *big.Rat, burst time.Duration) uint32 {
	tokens := new(big.Rat).Mul(rate, big.NewRat(burst.Nanoseconds(), int64(time.Second)))
	n := whole(tokens)
	if !tokens.IsInt() {
		n.Add(n, big.NewInt(1))
	}
	return clampTokens(n.Add(n, big.NewInt(1)))
}

// Rate is what the bucket admits for good, in requests per second.
func (b Bucket) Rate() *big.Rat {
	return new(big.Rat).Mul(big.NewRat(int64(b.Tokens), 1), big.NewRat(int64(time.Second), b.Fill.Nanoseconds()))
}

// tokensIn is how many whole tokens come in so many milliseconds.
func tokensIn(rate *big.Rat, milliseconds int64) *big.Int {
	return whole(new(big.Rat).Mul(rate, big.NewRat(milliseconds, 1000)))
}

func whole(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) }

func clampTokens(n *big.Int) uint32 {
	if !n.IsUint64() || n.Uint64() > maxTokens {
		return maxTokens
	}
	return uint32(max(1, n.Uint64()))
}

package limit

import (
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/resources"
)

const (
	// minFill is the shortest fill interval that Envoy accepts.
	minFill = resources.MinFill
	// maxFill bounds the search for an exact fill interval. Envoy fills a bucket
	// continuously at tokens / interval, so a long interval is as smooth as a
	// short one.
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
// bucket that holds just one loses every token that a gap leaves it. Tokens/Fill equals the rate exactly wherever Envoy's fields can
// say it: for any rate a/b in lowest terms with a < 2³² and b up to 10⁸. Elsewhere
// it is less than a millionth below.
func NewBucket(rate *big.Rat, burst time.Duration) Bucket {
	// tokens = rate * fill/1000 is whole just when fill, in milliseconds, is a
	// multiple of step = 1000*b / gcd(a, 1000*b), for rate = a/b.
	den := new(big.Int).Mul(rate.Denom(), big.NewInt(1000))
	step := new(big.Int).Div(den, new(big.Int).GCD(nil, nil, rate.Num(), den))
	fill := maxFill.Milliseconds()
	if step.IsInt64() && step.Int64() <= fill {
		s := step.Int64()
		fill = (minFill.Milliseconds() + s - 1) / s * s
	}
	// A rate too large for the interval gets a shorter one, rounded down.
	for fill > minFill.Milliseconds() && tokensIn(rate, fill).Cmp(big.NewInt(maxTokens)) > 0 {
		fill = max(minFill.Milliseconds(), fill/2)
	}
	return Bucket{
		MaxTokens: depth(rate, burst),
		Tokens:    clampTokens(tokensIn(rate, fill)),
		Fill:      time.Duration(fill) * time.Millisecond,
	}
}

func depth(rate *big.Rat, burst time.Duration) uint32 {
	tokens := new(big.Rat).Mul(rate, big.NewRat(burst.Nanoseconds(), int64(time.Second)))
	whole := floor(tokens)
	if !tokens.IsInt() {
		whole.Add(whole, big.NewInt(1))
	}
	return clampTokens(whole.Add(whole, big.NewInt(1)))
}

// Rate is what the bucket admits for good, in requests per second.
func (b Bucket) Rate() *big.Rat {
	return new(big.Rat).Mul(ratio(int64(b.Tokens), 1), ratio(int64(time.Second), b.Fill.Nanoseconds()))
}

// tokensIn is how many whole tokens come in so many milliseconds.
func tokensIn(rate *big.Rat, milliseconds int64) *big.Int {
	return floor(new(big.Rat).Mul(rate, big.NewRat(milliseconds, 1000)))
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) }

func clampTokens(n *big.Int) uint32 {
	if !n.IsUint64() || n.Uint64() > maxTokens {
		return maxTokens
	}
	return uint32(max(1, n.Uint64()))
}

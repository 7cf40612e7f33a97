package capacity

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNewBucket(t *testing.T) {
	tests := []struct {
		name  string
		rate  *big.Rat
		burst time.Duration
		want  Bucket
	}{
		{"a round rate", big.NewRat(100, 1), 100 * time.Millisecond, Bucket{MaxTokens: 11, Tokens: 5, Fill: 50 * time.Millisecond}},
		{"slower than a token a fill", big.NewRat(10, 1), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 100 * time.Millisecond}},
		{"a tenth", big.NewRat(1, 10), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 10 * time.Second}},
		{"one in 30 s", big.NewRat(1, 30), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 30 * time.Second}},
		{"one a day", big.NewRat(1, 86400), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 24 * time.Hour}},
		{"a third", big.NewRat(100, 3), 100 * time.Millisecond, Bucket{MaxTokens: 5, Tokens: 2, Fill: 60 * time.Millisecond}},
		{"a million", big.NewRat(1_000_000, 1), time.Second, Bucket{MaxTokens: 1_000_001, Tokens: 50_000, Fill: 50 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := NewBucket(tt.rate, tt.burst)
			if got != tt.want {
				t.Errorf("NewBucket() = %+v, want %+v", got, tt.want)
			}
			if got.Rate().Cmp(tt.rate) != 0 {
				t.Errorf("Rate() = %s, want %s", got.Rate(), tt.rate)
			}
		})
	}
}

// Every bucket is one that Envoy takes, and exact for the rates that limits,
// shares and pods make, as long as 32 bits hold their numerator.
func TestBucketRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := big.NewRat(rapid.Int64Range(100, 1_000_000_000).Draw(t, "milli"), 1000)
		rate.Mul(rate, big.NewRat(rapid.Int64Range(1, 1000).Draw(t, "share"), 1000))
		rate.Quo(rate, big.NewRat(rapid.Int64Range(1, 64).Draw(t, "pods"), 1))
		burst := time.Duration(rapid.Int64Range(1, 60_000).Draw(t, "burst")) * time.Millisecond

		b := NewBucket(rate, burst)
		if b.MaxTokens < 2 || b.Tokens < 1 || b.Fill < minFill || b.Fill%time.Millisecond != 0 {
			t.Fatalf("NewBucket(%s) = %+v: Envoy would refuse it", rate, b)
		}
		if sayable := rate.Num().IsInt64() && rate.Num().Int64() <= maxTokens; sayable && b.Rate().Cmp(rate) != 0 {
			t.Fatalf("NewBucket(%s) = %+v fills at %s", rate, b, b.Rate())
		}
	})
}

// A rate that Envoy's fields can't say is rounded down, by very little.
func TestBucketRoundsDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := big.NewRat(rapid.Int64Range(1, 1<<50).Draw(t, "num"), rapid.Int64Range(1, 1<<40).Draw(t, "den"))
		if rate.Cmp(big.NewRat(1, 10)) < 0 || rate.Cmp(big.NewRat(1e9, 1)) > 0 {
			t.Skip("out of the range of limits")
		}
		b := NewBucket(rate, time.Second)
		off := new(big.Rat).Sub(rate, b.Rate())
		if off.Sign() < 0 || off.Cmp(new(big.Rat).Mul(rate, big.NewRat(1, 1_000_000))) > 0 {
			t.Fatalf("NewBucket(%s) = %+v fills at %s", rate, b, b.Rate())
		}
	})
}

// So is one of the least rates that there are, divided over shares and pods: as long as
// that is above one in the longest interval.
func TestSlowBucketsRoundDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := big.NewRat(rapid.Int64Range(10_000, 1e9).Draw(t, "nano"), 1e9)
		rate.Mul(rate, big.NewRat(rapid.Int64Range(1, 1000).Draw(t, "share"), 1000))
		rate.Quo(rate, big.NewRat(rapid.Int64Range(1, 64).Draw(t, "pods"), 1))
		b := NewBucket(rate, time.Second)
		if b.MaxTokens != 2 || b.Tokens < 1 || b.Fill < minFill || b.Fill > maxFill || b.Fill%time.Millisecond != 0 {
			t.Fatalf("NewBucket(%s) = %+v: Envoy would refuse it, or hold too much", rate, b)
		}
		if least := big.NewRat(1, int64(maxFill/time.Second)); rate.Cmp(least) < 0 {
			if b.Rate().Cmp(least) != 0 {
				t.Fatalf("NewBucket(%s) = %+v fills at %s, want the least there is", rate, b, b.Rate())
			}
			return
		}
		off := new(big.Rat).Sub(rate, b.Rate())
		if off.Sign() < 0 || off.Cmp(new(big.Rat).Mul(rate, big.NewRat(1, 1_000_000))) > 0 {
			t.Fatalf("NewBucket(%s) = %+v fills at %s", rate, b, b.Rate())
		}
	})
}

// below is held against the best of all fractions, found by trying them.
func TestBelowIsTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := big.NewRat(rapid.Int64Range(1, 5000).Draw(t, "num"), rapid.Int64Range(1, 5000).Draw(t, "den"))
		most := rapid.Int64Range(1, 60).Draw(t, "most")
		best := new(big.Rat)
		for den := int64(1); den <= most; den++ {
			num := whole(new(big.Rat).Mul(r, big.NewRat(den, 1)))
			if f := new(big.Rat).SetFrac(num, big.NewInt(den)); f.Cmp(best) > 0 {
				best = f
			}
		}
		if got := below(r, most); got.Cmp(best) != 0 {
			t.Fatalf("below(%s, %d) = %s, want %s", r, most, got, best)
		}
	})
}

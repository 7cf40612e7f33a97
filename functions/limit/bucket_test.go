package limit

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
		{"a round rate", ratio(100, 1), 100 * time.Millisecond, Bucket{MaxTokens: 11, Tokens: 5, Fill: 50 * time.Millisecond}},
		{"slower than a token a fill", ratio(10, 1), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 100 * time.Millisecond}},
		{"a tenth", ratio(1, 10), 100 * time.Millisecond, Bucket{MaxTokens: 2, Tokens: 1, Fill: 10 * time.Second}},
		{"a third", ratio(100, 3), 100 * time.Millisecond, Bucket{MaxTokens: 5, Tokens: 2, Fill: 60 * time.Millisecond}},
		{"a million", ratio(1_000_000, 1), time.Second, Bucket{MaxTokens: 1_000_001, Tokens: 50_000, Fill: 50 * time.Millisecond}},
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
		rate := ratio(rapid.Int64Range(100, 1_000_000_000).Draw(t, "milli"), 1000)
		rate.Mul(rate, ratio(rapid.Int64Range(narrow, shareUnits).Draw(t, "share"), shareUnits))
		rate.Quo(rate, ratio(rapid.Int64Range(1, 64).Draw(t, "pods"), 1))
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
		rate := ratio(rapid.Int64Range(1, 1<<50).Draw(t, "num"), rapid.Int64Range(1, 1<<40).Draw(t, "den"))
		if rate.Cmp(ratio(1, 10)) < 0 || rate.Cmp(ratio(1e9, 1)) > 0 {
			t.Skip("out of the range of limits")
		}
		b := NewBucket(rate, time.Second)
		off := new(big.Rat).Sub(rate, b.Rate())
		if off.Sign() < 0 || off.Cmp(new(big.Rat).Mul(rate, ratio(1, 1_000_000))) > 0 {
			t.Fatalf("NewBucket(%s) = %+v fills at %s", rate, b, b.Rate())
		}
	})
}

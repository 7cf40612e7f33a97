package replay

import (
	"math"
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
)

// Lag is the time from a change of replicas until Envoy enforces it: a burst of
// writes at most every 300 ms, and about 100 ms from there.
const Lag = 400 * time.Millisecond

// gateway is one pod with the entry where requests come; it holds a flow of them to its part of a
// limit.
type gateway struct {
	// burst is the bucket's depth as a time of the rate.
	burst  time.Duration
	bucket capacity.Bucket
	tokens float64
	// rate is the bucket's, in requests per second; 0 as long as there is no limit.
	rate float64
	// told is the last limit, due are those that Envoy has yet to get, oldest first.
	told *big.Rat
	due  []change
}

type change struct {
	at   time.Duration
	rate *big.Rat
}

// tell has a new limit on its way; the first one is there at once.
func (g *gateway) tell(now time.Duration, rate *big.Rat) {
	if g.told != nil && g.told.Cmp(rate) == 0 {
		return
	}
	if g.told = rate; g.rate == 0 {
		g.enforce(rate)
		return
	}
	g.due = append(g.due, change{at: now + Lag, rate: rate})
}

// tune has the bucket be of another depth from the next limit on, which is told even if it is the
// one before.
func (g *gateway) tune(burst time.Duration) {
	if burst != g.burst {
		g.burst, g.told = burst, nil
	}
}

// enforce fills a bucket that changes, as Envoy does.
func (g *gateway) enforce(rate *big.Rat) {
	bucket := capacity.NewBucket(rate, g.burst)
	if bucket == g.bucket {
		return
	}
	g.bucket, g.tokens = bucket, float64(bucket.MaxTokens)
	g.rate, _ = bucket.Rate().Float64()
}

// admit is how many of a step's requests pass; all do as long as there is no limit.
func (g *gateway) admit(now time.Duration, requests float64) float64 {
	for len(g.due) > 0 && g.due[0].at <= now {
		g.enforce(g.due[0].rate)
		g.due = g.due[1:]
	}
	if g.rate == 0 {
		return requests
	}
	g.tokens = math.Min(float64(g.bucket.MaxTokens), g.tokens+g.rate*Step.Seconds())
	admitted := math.Min(requests, g.tokens)
	g.tokens -= admitted
	return admitted
}

// admitAll lets a second of steps pass if none of its requests is refused and no limit
// changes meanwhile; otherwise it changes nothing.
func (g *gateway) admitAll(now time.Duration, requests *Steps) bool {
	if len(g.due) > 0 && g.due[0].at < now+time.Second {
		return false
	}
	if g.rate == 0 {
		return true
	}
	tokens, fill, most := g.tokens, g.rate*Step.Seconds(), float64(g.bucket.MaxTokens)
	for _, n := range requests {
		if tokens = math.Min(most, tokens+fill); n > tokens {
			return false
		}
		tokens -= n
	}
	g.tokens = tokens
	return true
}

package simulation

import (
	"math"
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// lag is the time from a change of replicas until Envoy enforces it: a burst of
// writes at most every 300 ms, and about 100 ms from there.
const lag = 400 * time.Millisecond

// gateway is one pod with one entry; it holds a flow of requests to a limit.
type gateway struct {
	bucket capacity.Bucket
	tokens float64
	// rate is the bucket's, in requests per second.
	rate float64
	// due are the limits that Envoy has yet to get, oldest first.
	due []change
}

type change struct {
	at   time.Duration
	rate *big.Rat
}

// tell has a new limit on its way; the first one is there at once.
func (g *gateway) tell(now time.Duration, rate *big.Rat) {
	if g.rate == 0 {
		g.enforce(rate)
		return
	}
	g.due = append(g.due, change{at: now + lag, rate: rate})
}

// enforce fills a bucket that changes, as Envoy does.
func (g *gateway) enforce(rate *big.Rat) {
	bucket := capacity.NewBucket(rate, v1alpha1.DefaultBurst)
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
	g.tokens = math.Min(float64(g.bucket.MaxTokens), g.tokens+g.rate*step.Seconds())
	admitted := math.Min(requests, g.tokens)
	g.tokens -= admitted
	return admitted
}

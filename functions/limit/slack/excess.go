package slack

import (
	"math"
	"time"
)

// Lag is how long batch goes by a demand that is no more, at most: what was counted in the
// second before a reading counts until the slack expires that comes from it. It holds
// whatever is lost on the way. Where nothing is, it is as long as the steps take: see Steps.
func (r Rule) Lag() time.Duration { return r.Every + r.Valid }

// Steps are what it takes until a worker goes by a reading, each at most.
type Steps struct {
	// Pass is from the reading to its slack, Fetch until that is fetched, Ask until a worker
	// asks the next time, Way what all the answers need.
	Pass, Fetch, Ask, Way time.Duration
}

// Yields is how long it takes, where nothing is lost, until batch has made way for a demand
// that has risen: the first reading may come in the middle of it.
func (r Rule) Yields(s Steps) time.Duration { return 2*r.Every + s.Pass + s.Fetch + s.Ask + s.Way }

// Together is the most that the online demand and batch come to, in requests per second,
// where the demand is high now and was never below low for the last Lag, or for Yields where
// nothing is lost. By as much as it is above the capacity, both exceed it; and as soon as low
// is high, they don't.
func (r Rule) Together(capacity, low, high float64) float64 {
	seen := max(0, low-chance*math.Sqrt(low))
	return high + max(0, (1-r.Reserve)*(capacity-(1+r.Margin)*seen))
}

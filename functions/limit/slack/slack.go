package slack

import "time"

// workOff is the time in which what waits is to be worked off, before batch takes any more:
// the mean of two readings, as a single one may be off.
const workOff = 2 * time.Second

// Rule is how much is left to batch.
type Rule struct {
	// Margin is kept free beside the demand, as a part of it.
	Margin float64
	// Reserve is kept free of what the demand leaves, as a part of that.
	Reserve float64
	// Every is how often the demand is read.
	Every time.Duration
	// Valid is how long a slack counts, from the reading that it comes from: as long as
	// nothing newer can have reached a worker, and a little more.
	Valid time.Duration
}

// Usual is the rule where nothing else is said. It leaves unused 3 % of what is unused and
// a fifth of a percent of the demand: batch has 95 % of what a demand of 0.9 of the capacity leaves.
var Usual = Rule{Margin: 0.002, Reserve: 0.03, Every: time.Second, Valid: 4 * time.Second}

// Model is what is known of one that batch runs on.
type Model struct {
	// Limit is what is admitted of the online demand, in requests per second, and Serves what
	// its ready replicas serve. What the limit has beyond that, for replicas on their way
	// and to show the autoscaler the demand, is not for batch: it would wait, and online
	// requests behind it.
	Limit, Serves float64
	Demand        Demand
	Backlog       Backlog
}

// capacity is what there is to share.
func (m Model) capacity() float64 { return min(m.Limit, m.Serves) }

// Slack is what batch may take.
type Slack struct {
	// Rate in requests per second.
	Rate float64
	// Expires is from when on it is nothing.
	Expires time.Time
}

// At is the rate that counts at a time.
func (s Slack) At(now time.Time) float64 {
	if !now.Before(s.Expires) {
		return 0
	}
	return s.Rate
}

// Of is a Model's slack. It counts from the reading on, so that a demand that can't be read
// any more soon leaves nothing.
func (r Rule) Of(m Model) Slack {
	left := (1-r.Reserve)*(m.capacity()-(1+r.Margin)*m.Demand.expected()) - m.Backlog.waits(m.Serves)/workOff.Seconds()
	return Slack{Rate: max(0, left), Expires: m.Demand.At.Add(r.Valid)}
}

package slack

import (
	"math"
	"time"
)

// chance is by how many roots of the demand a second may differ from the mean without being
// taken for a rise: half of three standard deviations of requests that come independently,
// since the mean has taken in half of that second.
const chance = 1.5

// Demand is what arrives for a Model at all of its gateways, without what carries the mark,
// in requests per second.
type Demand struct {
	// At is when the counters were read.
	At time.Time
	// Mean is averaged as package demand does, Last is of the last second alone. Of models
	// that take longer for a request both are the mean.
	Mean, Last float64
}

// expected is the demand that has to be reckoned with: the mean, or of a second with clearly
// more what is clear. So a rise is believed at once, and a fall as slowly as the mean takes
// it in.
func (d Demand) expected() float64 { return max(d.Mean, d.Last-chance*math.Sqrt(d.Mean)) }

// Backlog is what waits for a replica: requests that were admitted for replicas on their
// way, or by the headroom.
type Backlog struct {
	at       time.Time
	requests float64
}

// blink is the time of what replicas serve in which nothing is taken to wait: readings are
// some tens of milliseconds off the second that they are of, so a part of what was admitted
// in one is counted in the next. Taken for a queue, it would cost batch a tenth of what a
// demand of 0.9 of the capacity leaves.
const blink = 50 * time.Millisecond

// waits are the requests of a backlog that readings alone don't explain.
func (b Backlog) waits(serves float64) float64 { return max(0, b.requests-serves*blink.Seconds()) }

// mostWaiting bounds a backlog: the activator holds no more for a revision.
const mostWaiting = 10_000

// Next is the backlog at a time until which so many a second were admitted, online and
// marked ones, and replicas served so many.
func (b Backlog) Next(admitted, serves float64, now time.Time) Backlog {
	if b.at.IsZero() {
		return Backlog{at: now}
	}
	came := (admitted - serves) * now.Sub(b.at).Seconds()
	return Backlog{at: now, requests: min(max(0, b.requests+came), mostWaiting)}
}

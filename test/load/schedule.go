package load

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// Segment is a stretch of time over which the rate changes linearly.
type Segment struct {
	// Lasts is how long the segment is.
	Lasts time.Duration
	// From and To are the rates at its ends, in requests per second.
	From, To float64
}

// Hold keeps one rate, in requests per second.
func Hold(rate float64, lasts time.Duration) Segment {
	return Segment{Lasts: lasts, From: rate, To: rate}
}

// Ramp moves from one rate to another, in requests per second.
func Ramp(from, to float64, lasts time.Duration) Segment {
	return Segment{Lasts: lasts, From: from, To: to}
}

// requests is the segment's integral: how many requests are due up to the time at
// within it.
func (s Segment) requests(at time.Duration) float64 {
	t := at.Seconds()
	return s.From*t + s.slope()*t*t/2
}

// slope is the change of rate, in requests per second squared.
func (s Segment) slope() float64 { return (s.To - s.From) / s.Lasts.Seconds() }

// due is the time within the segment by which n requests are due: the inverse of
// requests. The quadratic's root is written so that it is exact for a slope of 0.
func (s Segment) due(n float64) time.Duration {
	root := math.Sqrt(max(0, s.From*s.From+2*s.slope()*n))
	seconds := 2 * n / (s.From + root)
	return min(s.Lasts, time.Duration(seconds*float64(time.Second)))
}

// Schedule is a rate over time: segments, one after another.
type Schedule []Segment

// Validate refuses what is not a rate over time.
func (s Schedule) Validate() error {
	if len(s) == 0 {
		return errors.New("schedule: no segment")
	}
	for i, segment := range s {
		if segment.Lasts <= 0 {
			return fmt.Errorf("schedule[%d]: lasts %v, want more than 0", i, segment.Lasts)
		}
		for _, rate := range []float64{segment.From, segment.To} {
			if !(rate >= 0) || math.IsInf(rate, 0) {
				return fmt.Errorf("schedule[%d]: a rate of %v, want 0 or more", i, rate)
			}
		}
	}
	return nil
}

// Duration is how long the schedule is.
func (s Schedule) Duration() time.Duration {
	var sum time.Duration
	for _, segment := range s {
		sum += segment.Lasts
	}
	return sum
}

// Requests is how many requests it has: its integral, rounded.
func (s Schedule) Requests() int {
	sum := 0.0
	for _, segment := range s {
		sum += segment.requests(segment.Lasts)
	}
	return int(math.Floor(sum + half))
}

// Rate is the rate at a time since the start, in requests per second; 0 outside
// the schedule.
func (s Schedule) Rate(at time.Duration) float64 {
	for _, segment := range s {
		if at < 0 {
			break
		}
		if at < segment.Lasts {
			return segment.From + segment.slope()*at.Seconds()
		}
		at -= segment.Lasts
	}
	return 0
}

// half centres requests in their share of the time: the first of a rate of 1 per
// second is due after half a second, so every whole second gets its due count.
const half = 0.5

// Arrivals are the times since the start at which requests are due, in order:
// the n-th when the schedule's integral reaches n - ½.
func (s Schedule) Arrivals() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		var start time.Duration
		before, next := 0.0, half
		for _, segment := range s {
			end := before + segment.requests(segment.Lasts)
			for ; next <= end; next++ {
				if !yield(start + segment.due(next-before)) {
					return
				}
			}
			before, start = end, start+segment.Lasts
		}
	}
}

package trace

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

const (
	// Longest is the longest recording.
	Longest = 7 * 24 * time.Hour
	// MostRequests is the most that may have come in a second.
	MostRequests = 1e6
	// MostReady is the most replicas that may have been ready.
	MostReady = 1_000_000
	// patience is the longest gap over which replicas are taken to be as they were before it.
	patience = time.Minute
)

// Trace is the demand of some time, by second.
type Trace struct {
	// Start is when its first second began.
	Start time.Time
	// Seconds are the requests that came in each; negative where that isn't known.
	Seconds []float32
	// Ready are the replicas that were ready in each; negative where that isn't known, and
	// nil where it is of none.
	Ready []float32
}

// Missing marks a second of which nothing is known.
const Missing = float32(-1)

// Check returns an error for what can't be a trace.
func (t Trace) Check() error {
	if len(t.Seconds) == 0 {
		return errors.New("the recording is empty: give at least one line `time,requests`")
	}
	if most := int(Longest.Seconds()); len(t.Seconds) > most {
		return fmt.Errorf("the recording has %d seconds: at most %d, which are 7 days", len(t.Seconds), most)
	}
	if t.Ready != nil && len(t.Ready) != len(t.Seconds) {
		return fmt.Errorf("the recording has replicas of %d seconds, and requests of %d: give both of each, or no replicas", len(t.Ready), len(t.Seconds))
	}
	known := 0
	for i, n := range t.Seconds {
		switch {
		case n < 0:
			continue
		case n != n || n > MostRequests:
			return fmt.Errorf("second %d of the recording has %g requests: write a number from 0 to %g", i, n, MostRequests)
		}
		known++
	}
	if known == 0 {
		return errors.New("the recording knows of no second: give at least one line `time,requests`")
	}
	return nil
}

// Known is how many seconds are.
func (t Trace) Known() int {
	known := 0
	for _, n := range t.Seconds {
		if n >= 0 {
			known++
		}
	}
	return known
}

// MissingShare is the part of the seconds that isn't known, 0 to 1.
func (t Trace) MissingShare() float64 {
	if len(t.Seconds) == 0 {
		return 0
	}
	return 1 - float64(t.Known())/float64(len(t.Seconds))
}

// Requests are all that are known of.
func (t Trace) Requests() float64 {
	sum := 0.
	for _, n := range t.Seconds {
		sum += math.Max(0, float64(n))
	}
	return sum
}

// End is when its last second ended.
func (t Trace) End() time.Time { return t.Start.Add(time.Duration(len(t.Seconds)) * time.Second) }

// Between is the part whose seconds begin at a time or later, and before another. It shares
// what the whole has.
func (t Trace) Between(from, to time.Time) Trace {
	at := func(when time.Time) int {
		n := when.Unix() - t.Start.Unix()
		if when.Nanosecond() > t.Start.Nanosecond() {
			n++ // that second has begun
		}
		return int(min(max(n, 0), int64(len(t.Seconds))))
	}
	first := at(from)
	end := max(first, at(to))
	part := Trace{Start: t.Start.Add(time.Duration(first) * time.Second), Seconds: t.Seconds[first:end]}
	if t.Ready != nil {
		part.Ready = t.Ready[first:end]
	}
	return part
}

// Stretches yields the known seconds between gaps of a minute and more. Over shorter gaps
// time stands still.
func (t Trace) Stretches() iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		var stretch []float32
		gap := 0
		for _, n := range t.Seconds {
			if n < 0 {
				gap++
				continue
			}
			if gap >= int(patience.Seconds()) && len(stretch) > 0 {
				if !yield(stretch) {
					return
				}
				stretch = nil
			}
			stretch, gap = append(stretch, n), 0
		}
		if len(stretch) > 0 {
			yield(stretch)
		}
	}
}

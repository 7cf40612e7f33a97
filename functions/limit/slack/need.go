package slack

import (
	"fmt"
	"math"
	"time"
)

const (
	// MostNeeds may be told with a question.
	MostNeeds = 10_000
	// early is the part of the time until a deadline by which batch is to be over before it,
	// and ending what it takes from the last answer until that is known.
	early  = 0.1
	ending = 3 * time.Second
	// mostRequests is more than any batch has left.
	mostRequests = 1e15
	// leastLeft is the time for which what is left is asked at the end.
	leastLeft = time.Second
)

// Need is what a batch needs of a Model from now on, so that it is over by its deadline.
type Need struct {
	// RequestsPerSecond are the requests that are left, over the time that is.
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	// Seconds are left until the deadline, as of when the question was sent.
	Seconds float64 `json:"seconds"`
	// MaxReplicas bounds the replicas of the Model that the batch may cause; 0 doesn't.
	MaxReplicas int32 `json:"maxReplicas,omitempty"`
}

// NeedOf is that of so many requests in a time; false where that is over.
func NeedOf(requests float64, left time.Duration, maxReplicas int32) (Need, bool) {
	if left <= 0 || requests <= 0 {
		return Need{}, false
	}
	return Need{RequestsPerSecond: requests / left.Seconds(), Seconds: left.Seconds(), MaxReplicas: maxReplicas}, true
}

// Check says what is wrong with a need.
func (n Need) Check() error {
	switch {
	case !(n.RequestsPerSecond >= 0) || math.IsInf(n.RequestsPerSecond, 1):
		return fmt.Errorf("requestsPerSecond is %g, want 0 or more", n.RequestsPerSecond)
	case !(n.Seconds > 0) || math.IsInf(n.Seconds, 1):
		return fmt.Errorf("seconds is %g, want more than 0", n.Seconds)
	case n.requests() > mostRequests:
		return fmt.Errorf("requestsPerSecond and seconds come to %g requests, want at most %g", n.requests(), float64(mostRequests))
	case n.MaxReplicas < 0:
		return fmt.Errorf("maxReplicas is %d, want 0 or more", n.MaxReplicas)
	}
	return nil
}

// Rate is what the batch should be answered per second, so that it is over in time: somewhat
// more than what it needs.
func (n Need) Rate() float64 { return n.requests() / n.until(early, 0) }

// After is the need a while later, if nothing was answered meanwhile; false where its time
// is over.
func (n Need) After(d time.Duration) (Need, bool) {
	return NeedOf(n.requests(), time.Duration(n.Seconds*float64(time.Second))-d, n.MaxReplicas)
}

func (n Need) requests() float64 { return n.RequestsPerSecond * n.Seconds }

// until is the time in seconds, from a while later on, in which it is to be over, where a
// part of it is kept free.
func (n Need) until(free float64, later time.Duration) float64 {
	return max(leastLeft.Seconds(), n.Seconds*(1-free)-ending.Seconds()-later.Seconds())
}

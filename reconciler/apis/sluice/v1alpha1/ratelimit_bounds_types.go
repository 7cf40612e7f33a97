package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RateLimitBounds are what callers must not get worse than while a Model tries other
// values. The limiter, which reads the gateways anyway, watches them.
type RateLimitBounds struct {
	// Since is when the trial began, which tells one trial from another: what came before
	// doesn't count.
	Since metav1.MicroTime `json:"since"`
	// ErrorPercent is the share of answers 5xx, of all requests that were let through,
	// that must not be passed: 1 to 100.
	// +optional
	ErrorPercent *int32 `json:"errorPercent,omitempty"`
	// Latency is the time to answer that must not be passed.
	// +optional
	Latency *LatencyBound `json:"latency,omitempty"`
}

// LatencyBound bounds a percentile of the time that requests take which were let through.
type LatencyBound struct {
	// Percentile of the requests: 1 to 99.
	Percentile int32 `json:"percentile"`
	// Above is what it must not be above.
	Above metav1.Duration `json:"above"`
}

// Why a trial's bounds were passed, or count as passed.
const (
	// BreachErrorPercent is a breach of the bound on errors.
	BreachErrorPercent = "ErrorPercent"
	// BreachLatency is a breach of the bound on latency.
	BreachLatency = "Latency"
	// BreachUnwatched is that nobody can tell, as the gateways can't be read.
	BreachUnwatched = "Unwatched"
)

// RateLimitBreach says that a bound was passed. It is written once.
type RateLimitBreach struct {
	// Since is that of the bounds that it is about.
	Since metav1.MicroTime `json:"since"`
	// Reason is which of them, in one word.
	Reason string `json:"reason"`
	// Message says what was seen, and what the bound is.
	Message string `json:"message"`
}

// BreachOf is the breach of bounds that were set then; nil for none.
func (s *RateLimitStatus) BreachOf(since *metav1.MicroTime) *RateLimitBreach {
	if s.Breach == nil || since == nil || !s.Breach.Since.Equal(since) {
		return nil
	}
	return s.Breach
}

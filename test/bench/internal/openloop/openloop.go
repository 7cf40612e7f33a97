// Package openloop has callers offer requests to a Model at times that are fixed beforehand,
// and keeps each answer: a slow Model doesn't slow them. How fast one is asked at most is
// closedloop.
package openloop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/test/load"
)

const (
	// Lanes spread a load over connections.
	Lanes = 32
	// InFlight bounds what waits for answers.
	InFlight = 4096
	// LongestAnswer bounds one request.
	LongestAnswer = 15 * time.Second
)

// ErrBehind says that a load generator didn't offer what it should have.
var ErrBehind = errors.New("the load fell behind")

// Load is what is to be offered.
type Load struct {
	Target   load.Target
	Schedule load.Schedule
	// Stop, if given, ends it early when it is closed.
	Stop <-chan struct{}
	// EachSecond, if given, is called at every second's end.
	EachSecond func(load.Second)
}

// Callers are those of a load.
type Callers struct {
	*load.Report

	mu      sync.Mutex
	answers []load.Answer
}

// Call offers a load, and returns once each request has its answer, or ctx ends. A load that
// fell behind, or wasn't answered with 2xx or 429, is an error, with what there is.
func Call(ctx context.Context, of Load) (*Callers, error) {
	c := &Callers{answers: make([]load.Answer, 0, of.Schedule.Requests())}
	var err error
	c.Report, err = load.Plan{
		Target: of.Target, Schedule: of.Schedule, Lanes: Lanes, RequestTimeout: LongestAnswer, Stop: of.Stop,
		Bounds:     load.Bounds{Requests: of.Schedule.Requests(), Duration: of.Schedule.Duration() + LongestAnswer, InFlight: InFlight},
		EachSecond: of.EachSecond, EachAnswer: c.Note,
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", of.Target.Host, err)
	}
	return c, errors.Join(c.whole(), ctx.Err())
}

// Note keeps an answer.
func (c *Callers) Note(a load.Answer) {
	a.Header = nil // a load has thousands
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, a)
}

// whole is an error unless each request was sent, and admitted or refused.
func (c *Callers) whole() error {
	switch total := c.Total; {
	case total.Dropped > 0:
		return fmt.Errorf("%w: %d requests were never sent", ErrBehind, total.Dropped)
	case total.Failed+total.Errored > 0:
		return fmt.Errorf("%d answers were neither 2xx nor 429, %d requests had none: %q, %v", total.Failed, total.Errored, c.Errors, c.Codes)
	}
	return nil
}

// Between are the answers to requests that were due in a time, by when they were due.
func (c *Callers) Between(from, to time.Time) []load.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []load.Answer
	for _, a := range c.answers {
		if !a.Due.Before(from) && a.Due.Before(to) {
			kept = append(kept, a)
		}
	}
	slices.SortFunc(kept, func(x, y load.Answer) int { return x.Due.Compare(y.Due) })
	return kept
}

// Admitted are the latencies of those that were answered with 2xx, in seconds, and how many
// were refused.
func Admitted(answers []load.Answer) (latencies []float64, refused int) {
	for _, a := range answers {
		if a.Status == http.StatusTooManyRequests {
			refused++
		} else {
			latencies = append(latencies, a.Latency.Seconds())
		}
	}
	return latencies, refused
}

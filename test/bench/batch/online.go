package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// lanes spread a load over connections, inFlight bounds what waits for answers.
	lanes, inFlight = 32, 4096
	// longestAnswer bounds one request of online callers.
	longestAnswer = 15 * time.Second
)

// errBehind says that a load generator didn't offer what it should have.
var errBehind = errors.New("the load fell behind")

// callers are an open-loop load of online requests: a slow Model doesn't slow it.
type callers struct {
	*load.Report

	mu      sync.Mutex
	answers []load.Answer
}

// call offers a schedule of requests to a Model, and returns once each has its answer, or ctx
// ends. A load that fell behind, or wasn't answered with 2xx or 429, is an error, with what
// there is.
func call(ctx context.Context, at platform.Endpoint, path string, schedule load.Schedule, stop <-chan struct{}) (*callers, error) {
	c := &callers{answers: make([]load.Answer, 0, schedule.Requests())}
	var err error
	c.Report, err = load.Plan{
		Target:   load.Target{Address: at.Address, Host: at.Host, Method: http.MethodPost, Path: path},
		Schedule: schedule, Lanes: lanes, RequestTimeout: longestAnswer, Stop: stop,
		Bounds:     load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + longestAnswer, InFlight: inFlight},
		EachAnswer: c.note,
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", at.Host, err)
	}
	return c, errors.Join(c.whole(), ctx.Err())
}

func (c *callers) note(a load.Answer) {
	a.Header = nil // a load has thousands
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, a)
}

// whole is an error unless each request was sent, and admitted or refused.
func (c *callers) whole() error {
	switch total := c.Total; {
	case total.Dropped > 0:
		return fmt.Errorf("%w: %d requests were never sent", errBehind, total.Dropped)
	case total.Failed+total.Errored > 0:
		return fmt.Errorf("%d answers were neither 2xx nor 429, %d requests had none: %q, %v", total.Failed, total.Errored, c.Errors, c.Codes)
	}
	return nil
}

// between are the answers to requests that were due in a time, by when they were due.
func (c *callers) between(from, to time.Time) []load.Answer {
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

// admitted are the latencies of those that were answered with 2xx, in seconds, and how many
// were refused.
func admitted(answers []load.Answer) (latencies []float64, refused int) {
	for _, a := range answers {
		if a.Status == http.StatusTooManyRequests {
			refused++
		} else {
			latencies = append(latencies, a.Latency.Seconds())
		}
	}
	return latencies, refused
}

// p99 of latencies, in seconds; NaN of fewer than there have to be for one.
func p99(latencies []float64) float64 {
	if len(latencies) < 100 {
		return math.NaN()
	}
	return stats.Quantile(latencies, 0.99)
}

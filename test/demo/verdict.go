package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// maxDifference is how far a score may be from the training library's own.
	maxDifference = 1e-5
	// enforcedWithin is how far the rate that was admitted may be from the limit,
	// over all saturated seconds: a busy machine makes requests lumpy.
	enforcedWithin = 0.05
)

// verdict is what the demo saw, reduced to what decides its exit code.
type verdict struct {
	difference float64
	total      load.Second
	errors     []string
	samples    int
	// mismatches are the seconds in which the limit did not follow, and excesses those
	// in which the gateway let more requests pass than the limit allows.
	mismatches, excesses []int
	// tightest is the largest part of what may pass that did.
	tightest float64
	// atZero is the formula's limit without replicas; most and last are the largest
	// limit that was in force and the final one.
	atZero, most, last float64
	// saturated seconds, and what was admitted in them as a part of their limits.
	saturated int
	enforced  float64
	// warm is what callers saw of a scale-up with a warm-up.
	warm comparison
	// lags are how long the limit took to follow each change of replicas.
	lags []time.Duration
}

// verdict reduces what was seen.
func (d *demo) verdict() verdict {
	v := verdict{difference: d.difference, samples: len(d.samples), total: d.report.Total, errors: d.report.Errors}
	moments := d.trail.Since(d.loadStart)
	limits := 0.0
	for _, s := range d.samples {
		if !s.followed {
			v.mismatches = append(v.mismatches, s.Index+1)
		}
		if v.tightest = max(v.tightest, s.passed/s.most); s.passed > s.most {
			v.excesses = append(v.excesses, s.Index+1)
		}
		if s.saturated {
			v.saturated++
			v.enforced += float64(s.Admitted)
			limits += s.Limit
		}
	}
	if v.saturated > 0 {
		v.enforced /= limits
	}
	for _, m := range moments {
		v.most = max(v.most, m.Limit)
	}
	now := moments[len(moments)-1]
	v.last = now.Limit
	if len(now.Revisions) > 0 {
		v.atZero = now.Rule.AtZero(now.Revisions[0].Initial, now.Revisions[0].Max)
	}
	v.lags = platform.Lags(moments)
	slices.Sort(v.lags)
	v.warm = d.pair[len(d.pair)-1].seen
	return v
}

// problems are what must not be, none if all is well.
func (v verdict) problems() []error {
	var out []error
	problem := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Errorf(format, args...))
		}
	}
	problem(v.difference > maxDifference, "the prediction is off by %.1e, more than %.0e", v.difference, maxDifference)
	problem(v.total.Failed > 0, "%d answers were neither 2xx nor 429", v.total.Failed)
	problem(v.total.Errored > 0, "%d requests got no answer: %s", v.total.Errored, strings.Join(v.errors, "; "))
	problem(v.total.Dropped > 0, "%d requests were never sent, too many were in flight", v.total.Dropped)
	problem(v.total.Admitted == 0, "no request was admitted")
	problem(len(v.mismatches) > 0, "the limit was not the formula's at %d of %d samples, seconds %v", len(v.mismatches), v.samples, v.mismatches)
	problem(len(v.excesses) > 0, "more passed than the limit allows at %d of %d samples, seconds %v", len(v.excesses), v.samples, v.excesses)
	problem(v.saturated > 0 && math.Abs(v.enforced-1) > enforcedWithin,
		"%.1f %% of the limit was admitted in %d seconds of more demand than that", 100*v.enforced, v.saturated)
	problem(v.most <= v.atZero, "the limit never rose: %s at most, %s at zero", show.Rate(v.most), show.Rate(v.atZero))
	problem(v.last != v.atZero, "the limit did not fall back: %s, not %s", show.Rate(v.last), show.Rate(v.atZero))
	return append(out, v.warm.problems()...)
}

// summarise prints the figures.
func (d *demo) summarise() {
	v := d.verdict()
	d.Title("Summary")
	d.Line("formula", "%d samples, %d mismatches", v.samples, len(v.mismatches))
	d.Line("limit kept", "the second that came nearest let %.0f %% pass of what it may; %d excesses", 100*v.tightest, len(v.excesses))
	d.Line("requests", "%d offered, %d admitted, %d refused with 429", v.total.Offered, v.total.Admitted, v.total.Limited)
	d.Line("errors", "%d other non-2xx, %d without an answer, %d not sent", v.total.Failed, v.total.Errored, v.total.Dropped)
	d.Line("latency", "p50 %s, p99 %s of the admitted", show.Milliseconds(v.total.P50), show.Milliseconds(v.total.P99))
	d.Line("limit", "%s at zero replicas, %s at most, %s at the end", show.Rate(v.atZero), show.Rate(v.most), show.Rate(v.last))
	if v.saturated > 0 {
		d.Line("limit enforced", "%.1f %% of it admitted in %d seconds of more demand", 100*v.enforced, v.saturated)
	}
	if n := len(v.lags); n > 0 {
		d.Line("limit followed", "%d changes of replicas, median %s, at most %s later", n, show.Seconds(v.lags[n/2]), show.Seconds(v.lags[n-1]))
	}
	cold := d.pair[0].seen.fresh
	d.Line("warm-up", "the slowest of the new replica's first requests took %s, without it %s", show.Milliseconds(v.warm.fresh.Latency(1)), show.Milliseconds(cold.Latency(1)))
	d.Line("first answer", "%s from zero replicas", show.Seconds(d.fromZero))
	d.Line("replicas now", "%s", d.trail.Now())
	if err := errors.Join(v.problems()...); err == nil {
		d.Line("verdict", "as it should be")
	}
}

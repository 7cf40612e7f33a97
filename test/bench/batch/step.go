package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// stepFrom and stepTo are the online demand before and after it, as parts of the limit.
	stepFrom, stepTo = 0.3, 0.9
	// stepTimes is how often it is made, beforeStep and afterStep how long each level lasts, once
	// the first was come to slowly.
	stepTimes             = 3
	beforeStep, afterStep = 5 * time.Second, 10 * time.Second
	// lookEvery is how often the counters are read.
	lookEvery = 100 * time.Millisecond
	// window is the time over which a rate is taken, within how much of the limit counts as
	// within it: what its bucket admits at once, over that time.
	window, within = time.Second, 1.02
)

var stepPart = fmt.Sprintf("Step: online demand from %.0f to %.0f %% of %d/s, beside a batch", 100*stepFrom, 100*stepTo, busy.perReplica)

// steps are what it takes until a worker goes by a reading, at most, where nothing is lost: as
// in docs/batch.md.
var steps = slack.Steps{Pass: 300 * time.Millisecond, Fetch: time.Second, Ask: credits.AskEvery, Way: 100 * time.Millisecond}

// stepped is what was seen of a step.
type stepped struct {
	// most is what both came to in a second, and over what they had beyond the limit in all, in
	// requests per second and requests.
	most, over float64
	// before is what both came to before it, in requests per second.
	before float64
	// yielded is how long it took until both were within the limit for good.
	yielded time.Duration
	// slowest is the 99th percentile of online latencies after the step, in seconds.
	slowest float64
}

// measureStep measures by how much, and for how long, both exceed the limit when the demand
// rises at once.
func (b *bench) measureStep(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	var all []stepped
	for range stepTimes {
		got, err := b.step(ctx)
		if err != nil {
			return err
		}
		b.Sayf("step: from %.0f/s, both come to %.0f/s at most, %.0f requests over; within the limit after %.1f s; online p99 %.0f ms",
			got.before, got.most, got.over, got.yielded.Seconds(), 1e3*got.slowest)
		all = append(all, got)
	}
	b.reportStep(all)
	return b.rest(ctx)
}

func (b *bench) step(ctx context.Context) (stepped, error) {
	limit := float64(busy.perReplica)
	var got *openloop.Callers
	var seen []platform.Counts
	both, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	both.Go(func() (err error) {
		got, err = call(ctx, b.busy, busy.path(), load.Schedule{
			load.Ramp(0, stepFrom*limit, rises), load.Hold(stepFrom*limit, beforeStep), load.Hold(stepTo*limit, afterStep),
		}, nil)
		return err
	})
	both.Go(func() (err error) {
		seen, err = b.watch(ctx, began.Add(rises+beforeStep-3*window), began.Add(rises+beforeStep+afterStep))
		return err
	})
	if err := both.Wait(); err != nil {
		return stepped{}, err
	}
	at := got.Start.Add(rises + beforeStep)
	out := judgeStep(seen, at, limit)
	latencies, _ := openloop.Admitted(got.Between(at, at.Add(afterStep)))
	out.slowest = p99(latencies)
	return out, nil
}

// watch reads the counters of the busy Model time and again, from one time to another.
func (b *bench) watch(ctx context.Context, from, to time.Time) (seen []platform.Counts, err error) {
	for at := from; at.Before(to); at = at.Add(lookEvery) {
		if err := command.Pause(ctx, time.Until(at)); err != nil {
			return nil, err
		}
		now, err := b.counts(ctx, busy.name)
		if err != nil {
			return nil, err
		}
		seen = append(seen, now)
	}
	return seen, nil
}

// judgeStep reads off what was admitted second by second after a step at a time.
func judgeStep(seen []platform.Counts, at time.Time, limit float64) stepped {
	out := stepped{}
	for i, first := range seen {
		for _, second := range seen[i:] {
			took := second.At.Sub(first.At)
			if took < window {
				continue
			}
			if first.At.Before(at.Add(-window)) {
				break
			}
			rate := (second.Admitted() - first.Admitted()) / took.Seconds()
			out.most = max(out.most, rate)
			if rate > within*limit && !first.At.Before(at) {
				out.yielded = first.At.Sub(at)
			}
			break
		}
	}
	first, before := 0, 0
	for i := 1; i < len(seen) && !seen[i].At.After(at); i++ {
		before = i
	}
	out.before = (seen[before].Admitted() - seen[first].Admitted()) / seen[before].At.Sub(seen[first].At).Seconds()
	for i := 1; i < len(seen); i++ {
		if took := seen[i].At.Sub(seen[i-1].At).Seconds(); seen[i].At.After(at) && seen[i].At.Before(at.Add(out.yielded+window)) {
			out.over += seen[i].Admitted() - seen[i-1].Admitted() - limit*took
		}
	}
	return out
}

func (b *bench) reportStep(all []stepped) {
	limit := float64(busy.perReplica)
	var most, over, yielded, slowest []float64
	for _, s := range all {
		most, over, yielded, slowest = append(most, s.most), append(over, s.over), append(yielded, s.yielded.Seconds()), append(slowest, 1e3*s.slowest)
	}
	allowed, lag := math.Floor(slack.Usual.Together(limit, stepFrom*limit, stepTo*limit)-limit), slack.Usual.Yields(steps)
	b.report.Add(stepPart,
		report.Value("over the limit in a second, at most", stats.Quantile(most, 1)-limit, "requests/s").Within(report.AtMost, allowed),
		report.Value("until both are within it again, at most", stats.Quantile(yielded, 1), "s").Within(report.AtMost, lag.Seconds()),
		report.Value("over the limit in all, at most", stats.Quantile(over, 1), "requests").Within(report.AtMost, math.Floor(allowed*lag.Seconds())),
		report.Value("online p99 in the "+afterStep.String()+" after it", stats.Median(slowest), "ms"),
	)
}

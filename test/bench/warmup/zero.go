package main

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	zeroPart = "0→1: the first 200 requests, of which the first one wakes the Model"
	// zeroRounds is how often each Model is woken.
	zeroRounds = 5
	// first requests of a replica are those that are looked at.
	first = 200
	// zeroRate and zeroLasts are of the load that follows the first request: the rest of
	// the first requests, and some in the steady state.
	zeroRate  = 100
	zeroLasts = 4 * time.Second
)

// arrivals is what was seen of one Model from zero.
type arrivals struct {
	// starts are cold starts, less the model's own initialisation or its warm-up; warmUps
	// how long those took; firsts when the first answer was there. In seconds.
	starts, warmUps, firsts []float64
	phases                  phases
}

// measureZero wakes each Model several times, and goes on with a load.
func (b *bench) measureZero(ctx context.Context) error {
	var all []subject
	for _, v := range variants {
		all = append(all, v.subjects()...)
	}
	endpoints, err := b.populate(ctx, all...)
	if err != nil {
		return err
	}
	b.Sayf("zero: %d rounds", zeroRounds)
	seen := map[string]*arrivals{}
	for round := range zeroRounds {
		for _, s := range all {
			if seen[s.name] == nil {
				seen[s.name] = &arrivals{}
			}
			if err := b.fromZero(ctx, s, endpoints[s.name], seen[s.name]); err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	for _, v := range variants {
		b.reportZero(v, seen[v.cold.name], seen[v.warm.name])
	}
	return nil
}

// fromZero wakes a Model once.
func (b *bench) fromZero(ctx context.Context, s subject, to platform.Endpoint, into *arrivals) error {
	if err := b.rest(ctx, s.name); err != nil {
		return err
	}
	woke, err := b.wake(ctx, to)
	if err != nil {
		return err
	}
	ledger := &platform.Ledger{}
	got, err := b.drive(ctx, to, driving{rate: zeroRate, lasts: zeroLasts, into: ledger})
	if err != nil {
		return err
	}
	if err := whole(got); err != nil {
		return err
	}
	seen, err := split(append(ledger.Answers(), woke.Served), nil, 1)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	start, warmUp := woke.coldStart(), time.Duration(0)
	if b.model(s).Spec.WarmUp != nil {
		told, err := b.warmUpOf(ctx, woke.Replica)
		if err != nil {
			return err
		}
		warmUp = time.Duration(told.Seconds * float64(time.Second))
		start = woke.Latency - warmUp
	}
	into.starts = append(into.starts, start.Seconds())
	into.warmUps = append(into.warmUps, warmUp.Seconds())
	into.firsts = append(into.firsts, woke.Latency.Seconds())
	into.phases.add(seen)
	return nil
}

// allowance is how much later, in seconds, than a cold start and a warm-up one after the
// other the first answer may come: 5 %, or what two of the activator's looks take.
func allowance(coldStart, warmUp float64) float64 { return max(0.05*(coldStart+warmUp), 0.25) }

func (b *bench) reportZero(v variant, cold, warm *arrivals) {
	part := zeroPart + ": " + v.title
	start, warmUp := stats.Median(cold.starts), stats.Median(warm.warmUps)
	b.report.Add(part,
		report.Value("with warm-up: first answer, later than cold start + warm-up by", 1e3*(stats.Median(warm.starts)-start), "ms").
			Within(report.AtMost, float64(int(1e3*allowance(start, warmUp)))),
		report.Median("cold start, without the model's own initialisation", stats.Summarize(cold.starts), "s"),
		report.Median("warm-up", stats.Summarize(warm.warmUps), "s"),
	)
	for _, arm := range []struct {
		title string
		seen  *arrivals
	}{{v.cold.title, cold}, {v.warm.title, warm}} {
		b.report.Add(part, report.Median(arm.title+": first answer", stats.Summarize(arm.seen.firsts), "s"))
		b.report.Add(part, arm.seen.phases.figures(arm.title)...)
	}
}

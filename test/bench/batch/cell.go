package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// settle is how long a level lasts before anything counts, rises how long it takes to a
	// higher one beside a batch, falls how long until batch takes what a lower one leaves.
	settle, rises, falls = 4 * time.Second, 10 * time.Second, 8 * time.Second
	// leastCounted is how long a turn counts at least, tail how long a load goes on then.
	leastCounted, tail = 6 * time.Second, 300 * time.Millisecond
)

// cell is what was measured at a level of demand, in one turn or more.
type cell struct {
	// latencies of online callers, in seconds; refused is how many more had none.
	latencies []float64
	refused   int
	// took is what came through beside them in each turn, left what their demand left of the
	// limit, both in requests per second.
	took, left []float64
}

// hold has online callers ask as they are led to, and then at the level that this comes to until
// so many requests count, and adds what it measured to a cell.
func (b *bench) hold(ctx context.Context, lead load.Schedule, count int, into *cell) error {
	rate := lead[len(lead)-1].To
	counted := max(leastCounted, time.Duration(float64(count)/rate*float64(time.Second)))
	var got *openloop.Callers
	var first, second platform.Counts
	from := time.Now().Add(lead.Duration())
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		got, err = call(ctx, b.busy, busy.path(), append(lead, load.Hold(rate, counted+tail)), nil)
		return err
	})
	both.Go(func() (err error) {
		if first, err = b.countsAt(ctx, from); err != nil {
			return err
		}
		second, err = b.countsAt(ctx, from.Add(counted))
		return err
	})
	if err := both.Wait(); err != nil {
		return err
	}
	latencies, refused := openloop.Admitted(got.Between(from, from.Add(counted)))
	into.latencies, into.refused = append(into.latencies, latencies...), into.refused+refused
	into.took = append(into.took, taken(first, second, got))
	into.left = append(into.left, float64(busy.perReplica)-rate)
	return nil
}

// countsAt are what the gateway has counted of the busy Model at a time.
func (b *bench) countsAt(ctx context.Context, at time.Time) (platform.Counts, error) {
	if err := command.Pause(ctx, time.Until(at)); err != nil {
		return platform.Counts{}, err
	}
	return b.counts(ctx, busy.name)
}

// taken is what came through beside callers between two counts, in requests per second. What
// carries the mark is counted by itself; of what doesn't, it is what is left.
func taken(first, second platform.Counts, online *openloop.Callers) float64 {
	answers := online.Between(first.At, second.At)
	_, refused := openloop.Admitted(answers)
	others := second.Refused - first.Refused - float64(refused)
	came := second.Marked - first.Marked
	if came == 0 {
		came = second.Offered - first.Offered - float64(len(answers))
	}
	return max(0, came-max(0, others)) / second.At.Sub(first.At).Seconds()
}

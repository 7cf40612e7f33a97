package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/load"
)

const (
	// samples are how many requests at a level count, in two turns; rivalSamples those beside
	// a worker without credits.
	samples, rivalSamples = 1600, 400
	// fullFor is how long a batch alone, and a load alone, count.
	fullFor = 10 * time.Second
	// tooMuch is what the load alone offers, as a part of the limit.
	tooMuch = 1.25
)

// levels are the online demand, as parts of the limit.
var levels = []float64{0.3, 0.6, 0.9}

// phase is levels one after the other, all beside a batch or all without one.
type phase struct {
	beside bool
	levels []float64
}

// phases are in alternation, and each level comes as early as late, so that a machine that is
// slow for a while is slow for both; a batch begins anew as seldom as goes with that.
var phases = []phase{
	{false, []float64{0.3}}, {true, []float64{0.3, 0.6}}, {false, []float64{0.6, 0.9}}, {true, []float64{0.9, 0.9}},
	{false, []float64{0.9, 0.6}}, {true, []float64{0.6, 0.3}}, {false, []float64{0.3}},
}

// column has what was measured with something beside, or with nothing, by level.
type column map[float64]*cell

func newColumn() column {
	c := column{}
	for _, level := range levels {
		c[level] = &cell{}
	}
	return c
}

// besides is all that is measured beside online callers, and of a batch alone.
type besides struct {
	alone, batch column
	// feedback is beside workers that go by latency alone, free beside some that go by nothing.
	feedback, free column
	// batchAlone and loadAlone are what each gets of the Model, in requests per second.
	batchAlone, loadAlone float64
}

// measureBeside takes online callers through levels of demand, alone and beside a batch by
// turns, and then beside the same worker with less control.
func (b *bench) measureBeside(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	got := besides{alone: newColumn(), batch: newColumn(), feedback: newColumn(), free: newColumn()}
	var err error
	if got.batchAlone, err = b.batchAlone(ctx); err != nil {
		return err
	}
	if err := b.rest(ctx); err != nil {
		return err
	}
	if got.loadAlone, err = b.loadAlone(ctx); err != nil {
		return err
	}
	for _, p := range phases {
		into := got.alone
		if p.beside {
			into = got.batch
		}
		if err := b.pass(ctx, p, into); err != nil {
			return err
		}
	}
	crew, err := newCrew(b.busy, busy.path())
	if err != nil {
		return err
	}
	defer crew.close()
	for _, level := range levels {
		if err := b.rivalled(ctx, crew, byLatency, level, got.feedback[level]); err != nil {
			return err
		}
		if err := b.rivalled(ctx, crew, byNothing, level, got.free[level]); err != nil {
			return err
		}
	}
	b.reportBeside(got)
	return nil
}

// pass measures a phase.
func (b *bench) pass(ctx context.Context, p phase, into column) error {
	if p.beside {
		if err := b.resumeBeside(ctx, p.levels[0]); err != nil {
			return err
		}
	}
	before := p.levels[0]
	for _, level := range p.levels {
		c := into[level]
		if err := b.hold(ctx, lead(before, level, p.beside), samples/2, c); err != nil {
			return err
		}
		before = level
		b.Sayf("beside: at %2.0f %%, a batch beside it: %-5t  p99 %.1f ms, batch %.1f/s of %.1f/s, %d refused",
			100*level, p.beside, 1e3*p99(c.latencies), last(c.took), last(c.left), c.refused)
	}
	if p.beside {
		return b.rest(ctx)
	}
	return nil
}

// resumeBeside has the batch go on while online callers ask, as it should find them, and waits
// until it takes most of what they leave.
func (b *bench) resumeBeside(ctx context.Context, level float64) error {
	rate := level * float64(busy.perReplica)
	stop, resumed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(stop)
		resumed <- b.resume(ctx, float64(busy.perReplica)-rate)
	}()
	_, err := call(ctx, b.busy, busy.path(), load.Schedule{load.Hold(rate, atWorkWithin)}, stop)
	return errors.Join(err, <-resumed)
}

// lead is what goes before what counts, from one level to another. Beside a batch, demand rises
// slowly enough for it to make way, and a fall is waited for until it is believed.
func lead(from, to float64, beside bool) load.Schedule {
	limit := float64(busy.perReplica)
	switch {
	case !beside || from == to:
		return load.Schedule{load.Hold(to*limit, settle)}
	case from < to:
		return load.Schedule{load.Ramp(from*limit, to*limit, rises), load.Hold(to*limit, settle)}
	default:
		return load.Schedule{load.Hold(to*limit, falls)}
	}
}

// rivalled measures a level beside workers without credits.
func (b *bench) rivalled(ctx context.Context, c *crew, by gate, level float64, into *cell) error {
	stop, err := c.start(ctx, by)
	if err != nil {
		return err
	}
	err = b.hold(ctx, lead(level, level, false), rivalSamples, into)
	if stopped := stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return fmt.Errorf("beside workers that go by %s: %w", by, err)
	}
	b.Sayf("beside: at %2.0f %%, workers that go by %s: p99 %.1f ms, they %.1f/s of %.1f/s, %d refused",
		100*level, by, 1e3*p99(into.latencies), last(into.took), last(into.left), into.refused)
	return nil
}

// loadAlone is what a load of more than the limit gets, in requests per second.
func (b *bench) loadAlone(ctx context.Context) (float64, error) {
	schedule := load.Schedule{load.Hold(tooMuch*float64(busy.perReplica), settle+fullFor)}
	got, err := call(ctx, b.busy, busy.path(), schedule, nil)
	if err != nil {
		return 0, err
	}
	from := got.Start.Add(settle)
	latencies, _ := openloop.Admitted(got.Between(from, from.Add(fullFor)))
	return float64(len(latencies)) / fullFor.Seconds(), nil
}

// batchAlone is what the batch gets that is at work, in requests per second.
func (b *bench) batchAlone(ctx context.Context) (float64, error) {
	before, err := b.counts(ctx, busy.name)
	if err != nil {
		return 0, err
	}
	if err := command.Pause(ctx, fullFor); err != nil {
		return 0, err
	}
	after, err := b.counts(ctx, busy.name)
	if err != nil {
		return 0, err
	}
	return (after.Admitted() - before.Admitted()) / after.At.Sub(before.At).Seconds(), nil
}

func last(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	return of[len(of)-1]
}

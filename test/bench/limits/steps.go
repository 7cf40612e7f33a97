package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
)

const (
	stepsPart = "Scale steps: 50 at random, 1 to 8 replicas of 100/s, at twice the largest limit"
	steps     = 50
	mostSteps = 8
	stepRate  = 100
	// A step's limit stands for a time between these.
	standsLeast, standsMost = 700 * time.Millisecond, 1200 * time.Millisecond
	// stepsWithin bounds the load, whatever the steps take.
	stepsWithin = 150 * time.Second
)

// stand is a time in which a limit stood: from when the last pod was seen to enforce
// it until the last time at which no pod enforced the next.
type stand struct {
	// limit in requests per second.
	limit    float64
	from, to time.Time
	// writes of the slot since the stand before.
	writes int
}

// measureSteps takes a subject through random scales under a load that is above all
// of its limits.
func (b *bench) measureSteps(ctx context.Context) error {
	if err := b.bringUp(ctx, mostPods); err != nil {
		return err
	}
	s := following(fixed("steps", stepRate), mostSteps)
	if err := b.populate(ctx, s); err != nil {
		return err
	}
	if err := b.proved(ctx, s.subject); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	slots, err := b.watchSlots(watching, nil)
	if err != nil {
		return err
	}
	b.Sayf("steps: %d/s, and %d changes of scale", 2*mostSteps*stepRate, steps)
	answers := &answers{}
	done := make(chan struct{})
	var stands []stand
	var stepped error
	go func() {
		defer close(done)
		stands, stepped = b.takeSteps(ctx, s, slots)
	}()
	got, err := b.loadUntil(ctx, s.subject, answers, done)
	<-done
	if err := errors.Join(err, stepped); err != nil {
		return err
	}
	if err := whole(got); err != nil {
		return err
	}
	b.reportSteps(judge(stands, answers.sorted(), len(b.doors)), got)
	return b.dismiss(ctx, s.subject)
}

// takeSteps waits until the load is settled and changes the scale again and again.
func (b *bench) takeSteps(ctx context.Context, s *scaled, slots *slotWatch) ([]stand, error) {
	if err := command.Pause(ctx, settle*time.Second); err != nil {
		return nil, err
	}
	chance, lines := b.chance(), b.externals()
	stands := []stand{{limit: float64(stepRate * s.ready), from: time.Now()}}
	for range steps {
		written := slots.count(s.slotObject())
		before, err := b.generations(ctx, lines, s.slot())
		if err != nil {
			return nil, err
		}
		if err := b.step(ctx, s, another(chance, s.ready)); err != nil {
			return nil, err
		}
		turned, err := b.turns(ctx, lines, s.slot(), before)
		if err != nil {
			return nil, err
		}
		until, _, last := span(turned)
		stands[len(stands)-1].to = until
		if err := command.Pause(ctx, between(chance, standsLeast, standsMost)); err != nil {
			return nil, err
		}
		stands = append(stands, stand{limit: float64(stepRate * s.ready), from: last, writes: slots.count(s.slotObject()) - written})
	}
	stands[len(stands)-1].to = time.Now()
	return stands, nil
}

// step takes a subject to another scale, as Knative does: more are desired before
// they are ready, and fewer before they go.
func (b *bench) step(ctx context.Context, s *scaled, to int) error {
	if err := b.decide(ctx, s, to); err != nil {
		return err
	}
	return b.become(ctx, s, to)
}

// another scale than the present one.
func another(chance *rand.Rand, than int) int {
	if n := 1 + chance.IntN(mostSteps-1); n < than {
		return n
	} else {
		return n + 1
	}
}

// between is a random time.
func between(chance *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(chance.Int64N(int64(most-least)))
}

// loadUntil offers twice the largest limit until done is closed.
func (b *bench) loadUntil(ctx context.Context, s subject, into *answers, done <-chan struct{}) (*load.Report, error) {
	schedule := load.Schedule{load.Hold(2*mostSteps*stepRate, stepsWithin)}
	got, err := load.Plan{
		Target: b.target(s), Schedule: schedule, Bounds: boundsOf(schedule), Lanes: lanes,
		RequestTimeout: 5 * time.Second, Stop: done, EachAnswer: into.note,
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", s.name, err)
	}
	return got, nil
}

// answers are the times of those that were admitted.
type answers struct {
	mu       sync.Mutex
	admitted []time.Time
}

func (a *answers) note(answer load.Answer) {
	if answer.Status != http.StatusOK {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admitted = append(a.admitted, now)
}

func (a *answers) sorted() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(slices.Values(a.admitted), time.Time.Compare)
}

// stepped is what random steps showed, as parts of what is allowed.
type stepped struct {
	// over is by how much more was admitted than the formula allows, short by how much
	// less than the limit: of each stand, and of all the time from the first to the last.
	over, short           []float64
	overInAll, shortInAll float64
	// writes of the slot, per step.
	writes float64
}

// judge compares what was admitted with what the formula of docs/limits.md allows.
//
// While a limit L stands for t seconds it is L·t, and what the buckets held when
// they were filled by its writes: the burst and up to two requests more on each pod.
// Between two stands some pods have the one limit and some the other, which allows
// the larger and asks for the smaller.
func judge(stands []stand, admitted []time.Time, pods int) stepped {
	var out stepped
	var most, least, got float64
	for i, s := range stands {
		lasted := s.to.Sub(s.from).Seconds()
		filled := float64(s.writes) * (s.limit*burst.Seconds() + 2*float64(pods))
		within := float64(countWithin(admitted, s.from, s.to))
		out.over = append(out.over, within/(s.limit*lasted+filled)-1)
		out.short = append(out.short, 1-within/(s.limit*lasted))
		most, least, got = most+s.limit*lasted+filled, least+s.limit*lasted, got+within
		out.writes += float64(s.writes) / float64(max(1, len(stands)-1))
		if i > 0 {
			before := stands[i-1]
			lasted := s.from.Sub(before.to).Seconds()
			most += max(before.limit, s.limit) * lasted
			least += min(before.limit, s.limit) * lasted
			got += float64(countWithin(admitted, before.to, s.from))
		}
	}
	out.overInAll, out.shortInAll = got/most-1, 1-got/least
	return out
}

// countWithin counts the times, sorted, from one time on and before another.
func countWithin(times []time.Time, from, to time.Time) int {
	at := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(times, t, time.Time.Compare)
		return i
	}
	return at(to) - at(from)
}

func (b *bench) reportSteps(seen stepped, got *load.Report) {
	percent := func(part float64) float64 { return 100 * part }
	b.report.Add(stepsPart,
		report.Value("more than the formula allows, worst step", percent(slices.Max(seen.over)), "%").Within(report.AtMost, 5),
		report.Value("less than the limit, worst step", percent(slices.Max(seen.short)), "%").Within(report.AtMost, 5),
		report.Value("more than the formula allows, in all", percent(seen.overInAll), "%").Within(report.AtMost, 5),
		report.Value("less than the limits, in all", percent(seen.shortInAll), "%").Within(report.AtMost, 5),
		report.Value("writes of the slot, per step", seen.writes, ""),
		report.Value("requests offered", float64(got.Total.Offered), ""),
		report.Value("longest answer of 99 %", math.Round(got.Total.P99.Seconds()*1e4)/10, "ms"),
	)
}

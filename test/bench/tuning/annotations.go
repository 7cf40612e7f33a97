package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/tuning"
)

const (
	annotationsPart = "Annotations: from the write of a Model to the effect, under 50/s"
	// prepared is how many Models are made ready, or rest, beside the one under load.
	prepared = 2
	// effectWithin ends the wait for an effect, whose bound is shorter.
	effectWithin = 30 * time.Second
)

// tunings is what came of all rows.
type tunings struct {
	// loading is held by the Model that is under load: one at a time.
	loading sync.Mutex

	mu sync.Mutex
	// effects are in seconds, by row.
	effects []float64
	// What is lost are requests without an answer, or with another than 2xx.
	lost, offered, revisions, restarted int
	failed                              []error
}

// measureAnnotations makes a change of a Model of its own for each annotation that is live.
// A row that fails doesn't keep the others from being measured.
func (b *bench) measureAnnotations(ctx context.Context) error {
	rows := tuning.Rows()
	all := &tunings{effects: make([]float64, len(rows))}
	var group errgroup.Group
	group.SetLimit(1 + prepared)
	for i, row := range rows {
		group.Go(func() error {
			took, err := b.tuneLive(ctx, row, all)
			all.mu.Lock()
			defer all.mu.Unlock()
			if all.effects[i] = took.Seconds(); err != nil {
				all.failed = append(all.failed, fmt.Errorf("%s: %w", row.Name(), err))
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is kept
	for i, row := range rows {
		if all.effects[i] > 0 {
			b.report.Add(annotationsPart, report.Value(row.Name(), all.effects[i], "s").Within(report.AtMost, tuning.Within.Seconds()))
		}
	}
	b.report.Add(annotationsPart,
		report.Value("revisions made", float64(all.revisions), "").Within(report.AtMost, 0),
		report.Value("pods that went or started anew", float64(all.restarted), "").Within(report.AtMost, 0),
		report.Value("requests lost", float64(all.lost), "").Within(report.AtMost, 0),
		report.Value("requests offered", float64(all.offered), ""),
	)
	return errors.Join(all.failed...)
}

// tuneLive is the time that a row's change takes until its effect; 0 if it isn't known.
func (b *bench) tuneLive(ctx context.Context, row tuning.Row, all *tunings) (time.Duration, error) {
	m := b.modelOf(row.Name(), row.Begin)
	at, err := stage.Deploy(ctx, b.clients, b.gateway, m)
	if err != nil {
		return 0, err
	}
	defer func() { _ = b.dismiss(ctx, m.Name) }() // cleaning up finds what is left
	place := tuning.Place{Clients: b.clients, Namespace: namespace, Model: m.Name}

	all.loading.Lock()
	under, err := begin(ctx, at, row)
	if err == nil && !row.Rests {
		defer all.loading.Unlock()
		defer func() { all.count(under.end()) }()
		return b.change(ctx, row, place, all)
	}
	if err == nil {
		all.count(under.end())
	}
	all.loading.Unlock()
	if err != nil {
		return 0, err
	}
	if err := platform.Until(ctx, tuning.RetainedWithin, "the last replica to be all that is kept", place.Retained); err != nil {
		return 0, err
	}
	return b.change(ctx, row, place, all)
}

// change makes the change, and waits for its effect.
func (b *bench) change(ctx context.Context, row tuning.Row, at tuning.Place, all *tunings) (time.Duration, error) {
	before, err := at.Standing(ctx)
	if err != nil {
		return 0, err
	}
	if err := row.Before(ctx, at); err != nil {
		return 0, err
	}
	changed := time.Now()
	if err := b.patch(ctx, at.Model, []byte(row.Change)); err != nil {
		return 0, err
	}
	if err := platform.Until(ctx, effectWithin, "the effect", func(ctx context.Context) (string, error) { return row.Missing(ctx, at) }); err != nil {
		return 0, err
	}
	took := time.Since(changed)
	after, err := at.Standing(ctx)
	if err != nil {
		return took, err
	}
	b.Sayf("annotations: %s: %.2f s", row.Name(), took.Seconds())
	all.mu.Lock()
	defer all.mu.Unlock()
	all.revisions += len(after.Revisions) - len(before.Revisions)
	if !row.Rests { // at rest, the last replica's going is the effect
		all.restarted += len(before.Gone(after))
	}
	return took, nil
}

// count takes in what became of a load.
func (t *tunings) count(total load.Second) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered += total.Offered
	t.lost += total.Offered - total.Admitted
}

// underLoad is a load that goes on until it is ended.
type underLoad struct {
	stop chan struct{}
	done chan load.Second
}

// begin offers a row's load, and returns once what its change needs before it was offered.
func begin(ctx context.Context, at platform.Endpoint, row tuning.Row) (*underLoad, error) {
	schedule, due := row.Load()
	u, reached := &underLoad{stop: make(chan struct{}), done: make(chan load.Second, 1)}, make(chan struct{})
	of := openloop.Load{
		Target:   load.Target{Address: at.Address, Host: at.Host, Method: http.MethodGet, Path: "/hello"},
		Schedule: schedule, Stop: u.stop,
		EachSecond: func(s load.Second) {
			if s.Index+1 == int(due.Seconds()) {
				close(reached)
			}
		},
	}
	var failed error
	go func() {
		c, err := openloop.Call(ctx, of)
		if c == nil {
			failed = err
			close(u.done)
			return
		}
		u.done <- c.Total // an answer that isn't right counts as lost
	}()
	select {
	case <-reached:
		return u, nil
	case total, ok := <-u.done:
		if !ok {
			return nil, failed
		}
		return nil, fmt.Errorf("the load ended early: %+v", total)
	}
}

// end ends it, and tells what became of it.
func (u *underLoad) end() load.Second {
	close(u.stop)
	return <-u.done
}

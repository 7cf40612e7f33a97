package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/s3batch"
)

const (
	// alone is how long online callers have the Model for themselves, and low and high their
	// rates, in requests per second. Until the rise a run has begun that starts within 15 s.
	alone     = 15 * time.Second
	low, high = 20, 60
	// runWithin bounds the run, and with it the load.
	runWithin = 150 * time.Second
	// every is the time from a row of the table to the next.
	every = 2
	// lanes spread the load over the gateway's pods.
	lanes = 16
)

// online callers come in these numbers, until the run is over.
var online = load.Schedule{
	load.Hold(low, alone+25*time.Second),
	load.Ramp(low, high, 2*time.Second),
	load.Hold(high, 12*time.Second),
	load.Ramp(high, low, 2*time.Second),
	load.Hold(low, alone+runWithin-41*time.Second),
}

// traffic is what online callers saw, and the gateway counted.
type traffic struct {
	start, putAt, endAt time.Time
	ledger              platform.Ledger
	report              *load.Report

	// mu guards the rest, which the load's own goroutine writes.
	mu      sync.Mutex
	counts  platform.Counts
	samples []sample
	// pending are the seconds since the last sample.
	pending []load.Second
	// miscounted is why the gateway's counts aren't there.
	miscounted error
}

// sample is a row of the table.
type sample struct {
	// end is when it ends, in whole seconds since the load began.
	end int
	// online is the rate at which online callers came, limited how many of them were refused,
	// failed how many got no answer.
	online          float64
	limited, failed int
	p99             time.Duration
	// limit in force, and what it leaves to batch, in requests per second.
	limit, left float64
	// batch is the rate at which the batch asked, by the gateway.
	batch float64
	// progress is what the Batch says of itself.
	progress progress
}

// progress is what a Batch says of itself.
type progress struct {
	known             bool
	succeeded, failed int64
	inFlight          int32
	end               time.Time
}

// left is what a limit of so many requests per second leaves to batch beside so many of
// online callers, by docs/batch.md, written down here once more to check what is leased.
func left(limit, online float64) float64 { return max(0, 0.97*(limit-1.002*online)) }

// besideTraffic has online callers come, alone at first. Then the object is put, and they
// come on, at changing rates, until its run is over.
func (d *demo) besideTraffic(ctx context.Context) error {
	d.Title(fmt.Sprintf("Online callers, %d requests/s and for a while %d; after %v the object is put", low, high, alone))
	d.Printf("%s\n%s\n", explanation, header)
	t := &d.traffic
	if err := t.count(ctx, d); err != nil {
		return err
	}
	t.start = time.Now()
	stop := make(chan struct{})
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() (err error) {
		t.report, err = load.Plan{
			Target: load.Target{
				Address: d.endpoint.Address, Host: d.endpoint.Host, Method: http.MethodPost, Path: platform.InferPath,
				Header: http.Header{"Content-Type": {"application/json"}}, Body: d.request,
			},
			Schedule: online, Lanes: lanes, RequestTimeout: 10 * time.Second, Stop: stop, EachAnswer: t.ledger.Note,
			EachSecond: func(s load.Second) { d.second(ctx, s) },
			Bounds:     load.Bounds{Requests: online.Requests(), Duration: online.Duration() + 11*time.Second, InFlight: 512},
		}.Run(ctx)
		return err
	})
	running.Go(func() error {
		defer close(stop)
		select {
		case <-time.After(alone):
		case <-ctx.Done():
			return ctx.Err()
		}
		return d.announce(ctx)
	})
	if err := running.Wait(); err != nil {
		return err
	}
	t.endAt = d.batch.Status.CompletionTime.Time
	return t.miscounted
}

// second ends a second of the load, and every so many a row of the table.
func (d *demo) second(ctx context.Context, s load.Second) {
	t := &d.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	end := t.start.Add(time.Duration(s.Index+1) * time.Second)
	// The last second ends with the run.
	if t.pending = append(t.pending, s); len(t.pending) < every || time.Now().Before(end) {
		return
	}
	before := t.counts
	if err := t.count(ctx, d); err != nil {
		if ctx.Err() == nil {
			t.miscounted = err
		}
		t.pending = nil
		return
	}
	row := sample{end: s.Index + 1, limit: d.trail.Now().Limit, batch: (t.counts.Marked - before.Marked) / t.counts.At.Sub(before.At).Seconds(), progress: d.progress(ctx)}
	for _, second := range t.pending {
		row.online += float64(second.Offered) / every
		row.limited += second.Limited
		row.failed += second.Failed + second.Errored + second.Dropped
	}
	row.left = left(row.limit, row.online)
	row.p99 = t.ledger.Answers().Of(func(a platform.Served) bool {
		return !a.Due.Before(end.Add(-every*time.Second)) && a.Due.Before(end)
	}).Latency(0.99)
	t.samples, t.pending = append(t.samples, row), nil
	d.Printf("%s\n", row.row(time.Now()))
}

// count reads the gateway's counters.
func (t *traffic) count(ctx context.Context, d *demo) (err error) {
	counts, err := d.clients.GatewayCounts(ctx, gateway.Shared, d.namespace, s3batch.Model)
	if err == nil {
		t.counts = counts
	}
	return err
}

// progress reads what the object's Batch says of itself. It is for people: where it can't be
// read, a row goes without.
func (d *demo) progress(ctx context.Context) progress {
	batches, err := d.stage.Batches(ctx, d.key)
	if err != nil || len(batches) == 0 {
		return progress{}
	}
	var p progress
	status := batches[0].Status.BatchProgress
	if status.Succeeded != nil {
		p.known, p.succeeded = true, *status.Succeeded
	}
	if status.Failed != nil {
		p.failed = *status.Failed
	}
	if status.InFlight != nil {
		p.inFlight = *status.InFlight
	}
	if status.EstimatedEnd != nil {
		p.end = status.EstimatedEnd.Time
	}
	return p
}

// between are the answers to online callers that were due from one time to another.
func (t *traffic) between(from, to time.Time) platform.Answers {
	return t.ledger.Answers().Of(func(a platform.Served) bool { return !a.Due.Before(from) && a.Due.Before(to) })
}

// steady are the samples at which online callers had come at one rate for longer than a
// batch may take to follow, and the batch was at work.
func (t *traffic) steady() []sample {
	const follows = 6 // seconds
	var found []sample
	for i, s := range t.samples {
		from := i - follows/every
		if from < 0 || s.batch == 0 || t.samples[from].batch == 0 {
			continue
		}
		if !slices.ContainsFunc(t.samples[from:i], func(o sample) bool { return o.limit != s.limit || o.online < s.online-1 || o.online > s.online+1 }) {
			found = append(found, s)
		}
	}
	return found
}

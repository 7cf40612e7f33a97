package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// schedule rises and falls. At 40 requests per second a replica and an aim of 30:
// 20/s need one replica of four and 80/s three, all admitted thanks to the
// headroom; 240/s need more than there are, so that all four serve exactly their
// 160/s and the rest is refused.
var schedule = load.Schedule{
	load.Hold(20, 4*time.Second),
	load.Ramp(20, 80, 4*time.Second),
	load.Hold(80, 7*time.Second),
	load.Ramp(80, 240, 4*time.Second),
	load.Hold(240, 8*time.Second),
	load.Ramp(240, 15, 6*time.Second),
	load.Hold(15, 4*time.Second),
}

const (
	// sampleWindow is how old the replicas may be from which a limit follows.
	sampleWindow = time.Second
	// saturation is how many times the limit must be offered to call it saturated.
	saturation = 1.25
	// lanes spread the load over the gateway's pods.
	lanes = 32
)

// bounds of the load; its schedule takes 37 s.
var bounds = load.Bounds{Requests: 6000, Duration: 40 * time.Second, InFlight: 512}

// sample is one second of the load, or after it, and the Model at its end.
type sample struct {
	load.Second
	platform.Moment
	// followed tells whether the limit in force at the second's end follows by the
	// formula from the replicas of some moment within the sampleWindow before.
	followed bool
	// saturated tells whether more was offered than a limit that stood still for
	// this second and the one before: what was admitted then is that limit, seen
	// from outside.
	saturated bool
}

// load drives the load, a row of the table a second, and goes on with the table
// until the Model rests again.
func (d *demo) load(ctx context.Context) error {
	d.title(fmt.Sprintf("Load: %d requests in %v, at most %v, and back to zero", schedule.Requests(), schedule.Duration(), bounds.Duration))
	fmt.Fprintf(d.out, "%s\n", explanation)
	fmt.Fprintln(d.out, header)
	d.loadStart = time.Now()
	plan := load.Plan{
		Target: load.Target{
			Address: d.endpoint.Address,
			Host:    d.endpoint.Host,
			Method:  http.MethodPost,
			Path:    platform.InferPath,
			Header:  http.Header{"Content-Type": {"application/json"}},
			Body:    d.request,
		},
		Schedule:   schedule,
		Bounds:     bounds,
		Lanes:      lanes,
		EachSecond: d.sample,
	}
	report, err := plan.Run(ctx)
	if err != nil {
		return err
	}
	d.report = report
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the load was cut short: %w", err)
	}
	return d.watchRest(ctx)
}

// watchRest goes on with the table, without any load, until the Model rests.
func (d *demo) watchRest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restWithin)
	defer cancel()
	for {
		index := len(d.samples)
		select {
		case <-time.After(time.Until(d.report.Start.Add(time.Duration(index+1) * time.Second))):
		case <-ctx.Done():
			return fmt.Errorf("waiting for zero replicas after the load: %w: %s", ctx.Err(), d.trail.Now())
		}
		d.sample(load.Second{Index: index})
		if missing, _ := d.resting(ctx); missing == "" {
			return nil
		}
	}
}

// sample adds a row.
func (d *demo) sample(second load.Second) {
	now, followed := d.trail.Followed(sampleWindow)
	s := sample{Second: second, Moment: now, followed: followed}
	s.saturated = float64(second.Offered) > saturation*now.Limit &&
		!slices.ContainsFunc(d.trail.Since(time.Now().Add(-2*time.Second)), func(m platform.Moment) bool { return m.Limit != now.Limit })
	d.samples = append(d.samples, s)
	fmt.Fprintln(d.out, s.row())
}

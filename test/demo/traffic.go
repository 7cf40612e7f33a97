package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// round of the load rises and falls. At 40 requests per second a replica and an aim of 30:
// 20/s need one replica of four and 80/s three, all admitted thanks to the
// headroom; 240/s need more than there are, so that all four serve exactly their
// 160/s and the rest is refused.
var round = load.Schedule{
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

// schedule of the load is so many rounds, of 37 s each.
func (o options) schedule() load.Schedule { return slices.Repeat(round, o.rounds) }

// bounds of the load.
func (o options) bounds() load.Bounds {
	return load.Bounds{Requests: 6000 * o.rounds, Duration: time.Duration(37*o.rounds+3) * time.Second, InFlight: 512}
}

// sample is one second of the load, or after it, and the Model at its end.
type sample struct {
	load.Second
	platform.Moment
	// followed tells whether the limit in force at the second's end follows by the
	// formula from the replicas of some moment within the sampleWindow before.
	followed bool
	// passed is how many requests the gateway's pods let through since the sample
	// before, and most how many may have, by what is said in docs/limits.md.
	passed, most float64
	// saturated tells whether more was offered than a limit that stood still for
	// this second and the one before: what was admitted then is that limit, seen
	// from outside.
	saturated bool
}

// load drives the load, a row of the table a second, and goes on with the table
// until the Model rests again.
func (d *demo) load(ctx context.Context) error {
	schedule, bounds := d.schedule(), d.bounds()
	d.Title(fmt.Sprintf("Load: %d requests in %v, at most %v, and back to zero", schedule.Requests(), schedule.Duration(), bounds.Duration))
	d.Printf("%s\n%s\n", explanation, header)
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
		EachSecond: func(s load.Second) { d.sample(ctx, s) },
	}
	report, err := plan.Run(ctx)
	if err != nil {
		return err
	}
	d.report = report
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the load was cut short: %w", err)
	}
	if d.miscounted != nil {
		return d.miscounted
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
		d.sample(ctx, load.Second{Index: index})
		if missing, _ := d.resting(ctx); missing == "" {
			return nil
		}
	}
}

// count reads the gateway's counters for the first time.
func (d *demo) count(ctx context.Context) (err error) {
	d.counts, err = d.clients.GatewayCounts(ctx, gateway.Shared, d.namespace, modelName)
	return err
}

// sample adds a row.
func (d *demo) sample(ctx context.Context, second load.Second) {
	before := d.counts
	if err := d.count(ctx); err != nil {
		d.counts, d.miscounted = before, err
	}
	now, followed := d.trail.Followed(sampleWindow)
	s := sample{
		Second: second, Moment: now, followed: followed,
		passed: d.counts.Admitted() - before.Admitted(),
		most:   most(d.trail.Since(before.At.Add(-sampleWindow)), d.counts.At.Sub(before.At), d.counts.Pods),
	}
	s.saturated = float64(second.Offered) > saturation*now.Limit &&
		!slices.ContainsFunc(d.trail.Since(time.Now().Add(-2*time.Second)), func(m platform.Moment) bool { return m.Limit != now.Limit })
	d.samples = append(d.samples, s)
	d.Printf("%s\n", s.row())
}

// burst is how long a limit fills a bucket, by default.
const burst = 100 * time.Millisecond

// most is how many requests may pass in so long, by the highest of the limits of some
// moments: the rate, a full bucket to begin with, and another at each change, since a
// change refills it. A bucket holds two requests more than its burst, and each pod has
// one.
func most(moments []platform.Moment, in time.Duration, pods int) float64 {
	highest, buckets := 0.0, 1.0
	for i, m := range moments {
		highest = max(highest, m.Limit, m.Expected())
		if i > 0 && m.Limit != moments[i-1].Limit {
			buckets++
		}
	}
	return highest*(in.Seconds()+buckets*burst.Seconds()) + 2*buckets*float64(pods)
}

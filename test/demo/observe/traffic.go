package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// rising is the load: at first within the Model's limit of 20/s, then twice that, so that
// about half is refused, and within it again.
var rising = load.Schedule{
	load.Hold(12, 8*time.Second),
	load.Hold(40, 12*time.Second),
	load.Hold(12, 8*time.Second),
}

// aside is a load that is nowhere near the limit.
var aside = load.Schedule{load.Hold(8, 3*time.Second)}

// once is one request.
var once = load.Schedule{load.Hold(1, time.Second)}

const (
	// nowhere begins paths, and hosts, that aren't there.
	nowhere = "nowhere-"
	// lanes spread the load over the gateway's pods.
	lanes = 8
)

// counted is what the load generator counted of a run, by how requests ended.
type counted struct {
	// admitted were answered with 2xx, missing with 404 by the Model, refused with 429 by its
	// limit.
	admitted, missing, refused int
	// unrouted were for a host that isn't there, and answered with 404 by the gateway.
	unrouted int
	// amiss is what must not be: no answer, another status, a request sent twice.
	amiss []string
	// p50 and p99 are latencies of the admitted.
	p50, p99 time.Duration
}

// passed are those that the limit let through.
func (c counted) passed() int { return c.admitted + c.missing }

// offered are those that came to the Model's route.
func (c counted) offered() int { return c.passed() + c.refused }

// part is one load, and how its answers with 404 count.
type part struct {
	name     string
	schedule load.Schedule
	target   load.Target
	missing  *int
}

// load sends all of the run's requests, one part after the other.
func (d *demo) load(ctx context.Context) error {
	c := &d.counted
	model := load.Target{
		Address: d.endpoint.Address, Host: d.endpoint.Host, Method: http.MethodPost, Path: platform.InferPath,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: d.body,
	}
	chosen := model // as its caller says so
	chosen.Header = http.Header{"Content-Type": {"application/json"}, "Traceparent": {"00-" + d.trace + "-" + d.span + "-01"}}
	lost := load.Target{Address: model.Address, Host: model.Host, Method: http.MethodGet, Path: "/" + nowhere + d.run}
	strange := lost
	strange.Host = nowhere + d.run + ".example"
	d.Title("Load")
	for _, p := range []part{
		{"to a path that the Model doesn't have", aside, lost, &c.missing},
		{"to a host that isn't there", aside, strange, &c.unrouted},
		{"to the Model, for a while twice what its limit admits", rising, model, &c.missing},
		{"to the Model, whose trace is asked for", once, chosen, &c.missing},
	} {
		report, err := d.send(ctx, p)
		if err != nil {
			return err
		}
		if c.add(report, p); p.schedule.Requests() == rising.Requests() {
			c.p50, c.p99 = report.Total.P50, report.Total.P99
		}
	}
	d.loaded = time.Now()
	d.Sayf("counted: %d with 2xx, %d with 429, %d with 404 by the Model, %d with 404 by the gateway", c.admitted, c.refused, c.missing, c.unrouted)
	return ctx.Err()
}

// send sends a part of the load.
func (d *demo) send(ctx context.Context, p part) (*load.Report, error) {
	report, err := load.Plan{
		Target: p.target, Schedule: p.schedule, Lanes: lanes,
		Bounds: load.Bounds{Requests: p.schedule.Requests(), Duration: p.schedule.Duration() + 15*time.Second, InFlight: 256},
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("sending requests %s: %w", p.name, err)
	}
	d.Sayf("%d %s", report.Total.Offered, p.name)
	return report, nil
}

// add counts the answers to a part.
func (c *counted) add(report *load.Report, p part) {
	for code, n := range report.Codes {
		switch {
		case code >= 200 && code < 300:
			c.admitted += n
		case code == http.StatusTooManyRequests:
			c.refused += n
		case code == http.StatusNotFound:
			*p.missing += n
		default:
			c.amiss = append(c.amiss, fmt.Sprintf("%d requests %s were answered with status %d", n, p.name, code))
		}
	}
	if t := report.Total; t.Errored+t.Dropped+t.Repeated > 0 {
		c.amiss = append(c.amiss, fmt.Sprintf("of %d requests %s %d got no answer, %d weren't sent, %d were sent twice: %v",
			t.Offered, p.name, t.Errored, t.Dropped, t.Repeated, report.Errors))
	}
}

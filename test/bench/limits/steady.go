package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
)

const (
	steadyPart = "Steady: admitted against the limit, at twice the limit"
	podsPart   = "Gateway pods: admitted against a limit of 200/s, 64 connections"

	// settle is left out of what is measured: buckets empty, and shares follow demand.
	settle = 3
	// measured is how many seconds count.
	measured = 10
	// lanes spread the load over connections, and so over the gateway's pods.
	lanes = 64
	// behind is the part of what is due that a load may lack before nothing that it
	// measured counts.
	behind = 0.005
)

// errBehind says that a load generator didn't offer what it should have.
var errBehind = errors.New("the load fell behind")

// steadyRates are the limits, in requests per second.
var steadyRates = []int64{20, 200, 2000}

// fixed is a subject with a limit that follows nothing.
func fixed(name string, rate int64) subject {
	return subject{name: name, gateway: ownGateway, rate: rate, policy: v1alpha1.PolicyReady}
}

// measureSteady holds loads of twice their limits against limits of all sizes, all
// at the same time.
func (b *bench) measureSteady(ctx context.Context) error {
	if err := b.bringUp(ctx, 1); err != nil {
		return err
	}
	subjects := make([]subject, 0, len(steadyRates))
	for _, rate := range steadyRates {
		subjects = append(subjects, fixed(fmt.Sprintf("steady-%d", rate), rate))
	}
	if err := b.enact(ctx, subjects...); err != nil {
		return err
	}
	b.Sayf("steady: twice the limits of %d/s", steadyRates)
	seen, err := b.holdAll(ctx, subjects...)
	if err != nil {
		return err
	}
	for i, rate := range steadyRates {
		b.report.Add(steadyPart,
			report.Value(fmt.Sprintf("off a limit of %d/s", rate), seen[i].off(float64(rate)), "%").Within(report.AtMost, 2),
			report.Value(fmt.Sprintf("admitted at %d/s", rate), seen[i].rate(), "requests/s"),
		)
	}
	return b.dismiss(ctx, subjects...)
}

// measurePods holds a limit that more and more gateway pods share.
func (b *bench) measurePods(ctx context.Context) error {
	const rate = 200
	s := fixed("pods", rate)
	for pods := 1; pods <= mostPods; pods++ {
		if err := b.bringUp(ctx, int32(pods)); err != nil {
			return err
		}
		if len(b.doors) > pods {
			continue
		}
		if err := b.enact(ctx, s); err != nil {
			return err
		}
		b.Sayf("pods: %d/s at a limit of %d/s over %d", 2*rate, rate, pods)
		seen, err := b.hold(ctx, s, 2*rate)
		if err != nil {
			return err
		}
		b.report.Add(podsPart, report.Value(fmt.Sprintf("%d: off, at twice the limit", pods), seen.off(rate), "%").Within(report.AtMost, 2))
		if pods == mostPods {
			if seen, err = b.hold(ctx, s, rate); err != nil {
				return err
			}
			b.report.Add(podsPart, report.Value(fmt.Sprintf("%d: refused at just the limit, connections as they fall", pods), 100*seen.refused(), "%"))
		}
		if err := b.dismiss(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// seen is what became of a load within the seconds that count.
type seen struct{ load.Second }

func (s seen) rate() float64 { return float64(s.Admitted) / measured }

// off is by how much, in percent, what was admitted differs from a limit.
func (s seen) off(limit float64) float64 { return 100 * math.Abs(s.rate()/limit-1) }

func (s seen) refused() float64 { return float64(s.Limited) / float64(s.Offered) }

// hold offers a rate to a subject through the gateway's address and returns what
// became of it once it was settled.
func (b *bench) hold(ctx context.Context, s subject, rate float64) (seen, error) {
	got, err := steadyPlan(b.target(s), rate).Run(ctx)
	if err != nil {
		return seen{}, fmt.Errorf("loading %s: %w", s.name, err)
	}
	return count(got, rate)
}

// holdAll offers several subjects twice their limits at the same time.
func (b *bench) holdAll(ctx context.Context, subjects ...subject) ([]seen, error) {
	all := make([]seen, len(subjects))
	loading, ctx := errgroup.WithContext(ctx)
	for i, s := range subjects {
		loading.Go(func() (err error) {
			all[i], err = b.hold(ctx, s, 2*float64(s.rate))
			return err
		})
	}
	return all, loading.Wait()
}

func (b *bench) target(s subject) load.Target {
	return load.Target{Address: b.address, Host: s.host(), Method: http.MethodGet, Path: "/"}
}

// steadyPlan is a load of one rate.
func steadyPlan(target load.Target, rate float64) load.Plan {
	schedule := load.Schedule{load.Hold(rate, (settle+measured)*time.Second)}
	return load.Plan{Target: target, Schedule: schedule, Bounds: boundsOf(schedule), Lanes: lanes, RequestTimeout: 5 * time.Second}
}

// boundsOf are just what a schedule needs.
func boundsOf(schedule load.Schedule) load.Bounds {
	return load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + 6*time.Second, InFlight: 512}
}

// count sums up the seconds that count. A load that wasn't offered as it should have
// been, or that had other answers than those of a limit, measured nothing.
func count(got *load.Report, rate float64) (seen, error) {
	if len(got.Seconds) < settle+measured {
		return seen{}, fmt.Errorf("%w: it ended after %d seconds", errBehind, len(got.Seconds))
	}
	if err := whole(got); err != nil {
		return seen{}, err
	}
	within := load.Sum(got.Seconds[settle : settle+measured])
	if due := rate * measured; math.Abs(float64(within.Offered)-due) > behind*due+1 {
		return seen{}, fmt.Errorf("%w: %d of %.0f requests were offered in time", errBehind, within.Offered, due)
	}
	return seen{within}, nil
}

// whole is an error unless each request was admitted or refused.
func whole(got *load.Report) error {
	switch total := got.Total; {
	case total.Dropped > 0:
		return fmt.Errorf("%w: %d requests were never sent", errBehind, total.Dropped)
	case total.Failed+total.Errored > 0:
		return fmt.Errorf("%d answers were neither 2xx nor 429, %d requests had none: %q, %v", total.Failed, total.Errored, got.Errors, got.Codes)
	}
	return nil
}

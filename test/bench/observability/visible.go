package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	visiblePart = "From a request's answer until Prometheus tells of it"
	// visibleModels are asked side by side, requestsSeen times each.
	visibleModels, requestsSeen = 4, 15
	// apart is between two requests of a Model, at most: as long as Prometheus is between two looks,
	// so that requests come at any time between those.
	apart = 5 * time.Second
	// seenWithin bounds the wait for one.
	seenWithin = time.Minute
)

// measureVisible sends one request at a time, and asks Prometheus until it has counted it.
func (b *bench) measureVisible(ctx context.Context) error {
	b.Sayf("visible: %d requests", visibleModels*requestsSeen)
	var mu sync.Mutex
	var took []float64
	failures := make([]error, visibleModels)
	var models sync.WaitGroup
	for i := range visibleModels {
		models.Go(func() {
			failures[i] = b.watchModel(ctx, fmt.Sprintf("visible-%d", i), func(seconds float64) {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, seconds)
			})
		})
	}
	models.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	b.report.Add(visiblePart,
		report.Value("p99", stats.Quantile(took, 0.99), "s").Within(report.AtMost, 10),
		report.Median("each", stats.Summarize(took), "s"),
	)
	return nil
}

// watchModel sends a Model's requests and tells how long each took to be seen, in seconds.
func (b *bench) watchModel(ctx context.Context, name string, seen func(float64)) error {
	endpoint, err := b.deploy(ctx, b.ranker(name))
	if err != nil {
		return err
	}
	query := fmt.Sprintf(`sum(sluice_model_requests_total{namespace=%q,model=%q})`, namespace, name)
	// What deploying it took may still be on its way.
	if err := b.ask(ctx, endpoint); err != nil {
		return err
	}
	before, err := b.settled(ctx, query)
	if err != nil {
		return err
	}
	for n := range requestsSeen {
		if err := command.Pause(ctx, rand.N(apart)); err != nil { //nolint:gosec // when to ask is no secret
			return err
		}
		if err := b.ask(ctx, endpoint); err != nil {
			return err
		}
		answered := time.Now()
		want := before + float64(n+1)
		err := platform.Until(ctx, seenWithin, "a request of "+name+" to be counted", func(ctx context.Context) (string, error) {
			now, err := b.value(ctx, query)
			if err != nil {
				return "", err
			}
			if now < want {
				return fmt.Sprintf("%v of %v are", now, want), nil
			}
			return "", nil
		})
		if err != nil {
			return err
		}
		seen(time.Since(answered).Seconds())
	}
	return nil
}

// settled waits until a value is there and has been the same for longer than a request takes
// to be seen.
func (b *bench) settled(ctx context.Context, query string) (float64, error) {
	const stays = 12 * time.Second
	last, since := 0.0, time.Now()
	err := platform.Until(ctx, seenWithin+stays, query+" to settle", func(ctx context.Context) (string, error) {
		now, err := b.value(ctx, query)
		if err != nil {
			return "", err
		}
		if now != last || now == 0 {
			last, since = now, time.Now()
		}
		if lasted := time.Since(since); lasted < stays {
			return fmt.Sprintf("it is %v for %v", now, lasted), nil
		}
		return "", nil
	})
	return last, err
}

// ask sends one request, which has to be answered.
func (b *bench) ask(ctx context.Context, at platform.Endpoint) error {
	status, _, _, err := at.Post(ctx, platform.InferPath, b.prediction)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answered %d", at.Host, status)
	}
	return err
}

// steady is a load of so many requests a second.
func (b *bench) steady(at platform.Endpoint, rate float64, lasts time.Duration) load.Plan {
	schedule := load.Schedule{load.Hold(rate, lasts)}
	return load.Plan{
		Target: b.predict(at), Schedule: schedule, Lanes: 4,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: lasts + 30*time.Second, InFlight: 512},
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/stores"
)

const (
	awayPart  = "The log store away for 60 s"
	awayModel = "away"
	// The load goes on while the store is away, and before and after.
	awayRate           = 50
	before, away, back = 10 * time.Second, time.Minute, 10 * time.Second
	// caughtUpWithin bounds the wait for what was kept meanwhile.
	caughtUpWithin = 2 * time.Minute
)

// measureAway has the collector reach the log store by a way that is cut for a minute.
func (b *bench) measureAway(ctx context.Context) error {
	b.Sayf("away: deploying a Model, and going between collector and store")
	endpoint, err := b.deploy(ctx, b.ranker(awayModel))
	if err != nil {
		return err
	}
	proxy, err := b.between(ctx)
	if err != nil {
		return err
	}
	defer proxy.Away()
	query := fmt.Sprintf(`{sluice.model=%q} namespace:=%q`, awayModel, namespace)
	if err := b.ask(ctx, endpoint); err != nil {
		return err
	}
	if _, err := b.stored(ctx, query, 1); err != nil {
		return fmt.Errorf("by the way between: %w", err)
	}
	b.Sayf("away: %v of load, the store away for %v of it", before+away+back, away)
	sent, err := b.cut(ctx, proxy, endpoint)
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := b.stored(ctx, query, sent+1)
	b.report.Add(awayPart,
		report.Value("lines that came / requests", float64(got)/float64(sent+1), "×").Within(report.AtLeast, 1),
		report.Value("lines that came twice", float64(max(0, got-sent-1)), "").Within(report.AtMost, float64(sent)/100),
		report.Value("requests", float64(sent+1), ""),
		report.Value("all there after the load's end", time.Since(began).Seconds(), "s"),
	)
	if err != nil {
		b.Sayf("away: %v", err)
	}
	return b.restore(ctx)
}

// cut has a load during which the store is away, and returns how many requests there were.
func (b *bench) cut(ctx context.Context, proxy *stores.Proxy, at platform.Endpoint) (int, error) {
	done := make(chan error, 1)
	go func() {
		err := command.Pause(ctx, before)
		if err == nil {
			proxy.Away()
			err = command.Pause(ctx, away)
		}
		if err == nil {
			err = proxy.Back(ctx)
		}
		done <- err
	}()
	told, err := b.steady(at, awayRate, before+away+back).Run(ctx)
	if err != nil {
		return 0, fmt.Errorf("loading: %w", err)
	}
	if err := <-done; err != nil {
		return 0, fmt.Errorf("having the store away: %w", err)
	}
	if t := told.Total; t.Admitted != t.Offered {
		return 0, fmt.Errorf("loading: of %d requests %d were answered", t.Offered, t.Admitted)
	}
	return told.Total.Admitted, nil
}

// between opens a way to the log store and has the collector take it.
func (b *bench) between(ctx context.Context) (*stores.Proxy, error) {
	store, err := url.Parse(b.logs.Endpoint())
	if err != nil {
		return nil, fmt.Errorf("parsing the log store's address: %w", err)
	}
	// Where the store is pods reach this machine.
	proxy, err := stores.NewProxyAt(ctx, net.JoinHostPort(store.Hostname(), "0"), store.Host)
	if err != nil {
		return nil, err
	}
	by := *store
	by.Host = proxy.Address()
	return proxy, b.change(ctx, sinksConfig, settings{"log-store-endpoint": ptr.String(by.String())})
}

// stored waits until the log store has so many lines, and returns how many it has.
func (b *bench) stored(ctx context.Context, query string, want int) (int, error) {
	got := 0
	err := platform.Until(ctx, caughtUpWithin, fmt.Sprintf("%d lines in the log store", want), func(ctx context.Context) (string, error) {
		var err error
		if got, err = b.linesOf(ctx, query); err != nil {
			return "", err
		}
		if got < want {
			return fmt.Sprintf("%d are there", got), nil
		}
		return "", nil
	})
	return got, err
}

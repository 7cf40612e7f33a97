package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/closedloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	pathPart  = "Request path: with log, traces of 1 % and the collector at work / with none"
	pathModel = "path"

	// rounds of both ways; the one that goes first goes second the next time. Each way of a
	// round changes the gateways' listeners, which takes a second or two.
	rounds = 12
	// A way's turn is first of one request at a time and then of many.
	latencyTurns, requestsPerTurn = 16, 50
	idleConnections               = 16
	busyConnections               = 16
	throughputTurns               = 8
	throughputLasts               = 250 * time.Millisecond
	// forgotten requests begin each turn: connections are new, and caches cold.
	forgotten = 20
	// changedWithin bounds the wait for a gateway's listeners.
	changedWithin = 20 * time.Second
)

// way is how the gateways are told to be.
type way string

const (
	on  way = "on"
	off way = "off"
)

// settings of config-gateway by which they are so.
func (w way) settings() settings {
	if w == off {
		return settings{"access-log": ptr.String("off"), "trace-endpoint": ptr.String("")}
	}
	return settings{"access-log": ptr.String("on"), "trace-endpoint": ptr.String(traceEndpoint), "trace-sample": ptr.String("0.01")}
}

// samples are what was measured of a way.
type samples struct {
	// p50 and p99 of each round, in milliseconds; all latencies, in seconds; throughput of each
	// round, in requests per second.
	p50, p99, all, throughput []float64
}

// measurePath compares a Model's path with all that tells of its requests and with nothing
// that does. It is the same gateway and replica, by turns.
func (b *bench) measurePath(ctx context.Context) error {
	b.Sayf("path: deploying a Model")
	target, err := b.deployPath(ctx)
	if err != nil {
		return err
	}
	b.Sayf("path: %d rounds with and without", rounds)
	got := map[way]*samples{on: {}, off: {}}
	for i := range rounds {
		ways := []way{on, off}
		if i%2 == 1 {
			ways = []way{off, on}
		}
		for _, w := range ways {
			if err := b.turn(ctx, w); err != nil {
				return err
			}
			if err := got[w].measure(ctx, target); err != nil {
				return err
			}
		}
	}
	b.reportPath(got[on], got[off])
	return b.restore(ctx)
}

func (b *bench) reportPath(with, without *samples) {
	p99 := func(s *samples) float64 { return stats.Quantile(s.all, 0.99) }
	b.report.Add(pathPart,
		report.Median("p50, on / off", stats.Summarize(stats.Ratios(with.p50, without.p50)), "×").Within(report.AtMost, 1.03),
		report.Value("p99, on / off, all rounds together", p99(with)/p99(without), "×").Within(report.AtMost, 1.03),
		report.Median("throughput, on / off", stats.Summarize(stats.Ratios(with.throughput, without.throughput)), "×").Within(report.AtLeast, 0.97),
		report.Median("p50, on", stats.Summarize(with.p50), "ms"),
		report.Median("p50, off", stats.Summarize(without.p50), "ms"),
		report.Median("p99, on", stats.Summarize(with.p99), "ms"),
		report.Median("p99, off", stats.Summarize(without.p99), "ms"),
		report.Median("throughput, on", stats.Summarize(with.throughput), "requests/s"),
		report.Median("throughput, off", stats.Summarize(without.throughput), "requests/s"),
	)
}

// turn has the gateways be so, and waits until each pod's listeners are.
func (b *bench) turn(ctx context.Context, to way) error {
	before, err := b.listeners(ctx)
	if err != nil {
		return err
	}
	if err := b.change(ctx, gatewayConfig, to.settings()); err != nil {
		return err
	}
	// The first time it may be so already.
	if b.now == to {
		return nil
	}
	b.now = to
	return platform.Until(ctx, changedWithin, "the gateways' listeners to be changed", func(ctx context.Context) (string, error) {
		now, err := b.listeners(ctx)
		if err != nil {
			return "", err
		}
		for pod, n := range now {
			if n-before[pod] < listenersOf {
				return fmt.Sprintf("%s changed %v of them", pod, n-before[pod]), nil
			}
		}
		return "", nil
	})
}

// listenersOf a gateway change with its log: those for plain HTTP and for callers inside.
const listenersOf = 2

// listeners is how many changes of listeners each pod of the shared gateway has seen.
func (b *bench) listeners(ctx context.Context) (map[string]float64, error) {
	const modified = "envoy_listener_manager_listener_modified"
	pods, err := b.clients.GatewayStats(ctx, gateway.Shared, modified)
	if err != nil {
		return nil, err
	}
	seen := map[string]float64{}
	for pod, figures := range pods {
		seen[pod] = figures[modified]
	}
	return seen, nil
}

// measure takes a way's turn.
func (s *samples) measure(ctx context.Context, target load.Target) error {
	one, err := closedloop.OpenPool(target, idleConnections)
	if err != nil {
		return err
	}
	defer one.Close()
	if _, err := one.InTurn(ctx, forgotten*idleConnections); err != nil {
		return err
	}
	took, err := one.InTurn(ctx, latencyTurns*requestsPerTurn)
	if err != nil {
		return err
	}
	s.all = append(s.all, took...)
	s.p50, s.p99 = append(s.p50, 1e3*stats.Median(took)), append(s.p99, 1e3*stats.Quantile(took, 0.99))
	many, err := closedloop.OpenPool(target, busyConnections)
	if err != nil {
		return err
	}
	defer many.Close()
	if _, err := many.InTurn(ctx, forgotten*busyConnections); err != nil {
		return err
	}
	var rates []float64
	for range throughputTurns {
		rate, err := many.Saturate(ctx, throughputLasts)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	s.throughput = append(s.throughput, stats.Median(rates))
	return nil
}

// deployPath deploys a Model without the activator in its path, and has it answer.
func (b *bench) deployPath(ctx context.Context) (load.Target, error) {
	m := b.ranker(pathModel)
	m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(0)
	endpoint, err := b.deploy(ctx, m)
	if err != nil {
		return load.Target{}, err
	}
	err = platform.Until(ctx, time.Minute, "the activator to leave the path", func(ctx context.Context) (string, error) {
		got, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, pathModel, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting the Model: %w", err)
		}
		return stage.ActivatorIn(ctx, b.clients, namespace, got.Status.LatestReadyRevision)
	})
	return b.predict(endpoint), err
}

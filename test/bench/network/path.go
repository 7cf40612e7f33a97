package main

import (
	"context"
	"fmt"
	"net/http"
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
	pathPart  = "Request path: Sluice's gateway / a minimal Gateway and VirtualService, in the same Envoy"
	pathModel = "path"

	// A latency round is turns of both ways, one request at a time, so that the
	// machine's moods meet both alike: a round's p99 has 15 requests above it.
	predictionRounds = 24
	cheapestRounds   = 10
	turnsPerRound    = 30
	requestsPerTurn  = 50
	// idleConnections take turns and are opened anew each round: the kernel ties each
	// to one of Envoy's workers, and one worker isn't as fast as the other.
	idleConnections = 16
	// forgotten requests begin each turn: they find caches that are the other way's.
	forgotten = 5

	throughputRounds = 80
	throughputLasts  = 250 * time.Millisecond
	// busyConnections keep the machine's two cores busy: with twice as many the
	// throughput is the same.
	busyConnections = 16
)

// ways are two targets that lead to the same replica.
type ways struct{ ours, byHand load.Target }

// measurePath compares two ways to a Model's revision. The one by Sluice is the
// product's own: the Model's host, found among the gateway's routes, its limit in
// force in one of the slots, its demand counted. The other has what Istio puts
// there without being asked. The activator is in neither.
//
// What is held against the bounds is the model's own work, a prediction. The
// cheapest answer is told beside it: as little as possible is there to hide the
// gateway behind.
func (b *bench) measurePath(ctx context.Context) error {
	b.Sayf("path: deploying a Model")
	cheapest, err := b.deployPath(ctx)
	if err != nil {
		return err
	}
	predictions := ways{ours: predict(cheapest.ours, b.prediction), byHand: predict(cheapest.byHand, b.prediction)}
	if err := warm(ctx, predictions); err != nil {
		return err
	}
	b.Sayf("path: latency of predictions, %d rounds", predictionRounds)
	latency, err := measureLatency(ctx, predictions, predictionRounds)
	if err != nil {
		return err
	}
	b.Sayf("path: throughput of predictions, %d rounds", throughputRounds)
	throughput, err := measureThroughput(ctx, predictions)
	if err != nil {
		return err
	}
	b.Sayf("path: latency of the cheapest answer, %d rounds", cheapestRounds)
	least, err := measureLatency(ctx, cheapest, cheapestRounds)
	if err != nil {
		return err
	}
	b.reportPath(latency, throughput)
	b.report.Add(pathPart+": the cheapest answer", latencyFigures(least)...)
	return b.endRun(ctx, pathModel)
}

func (b *bench) reportPath(latency latencies, throughput pair) {
	b.report.Add(pathPart,
		report.Median("p50, Sluice / by hand", latency.p50.ratios(), "×").Within(report.AtMost, 1.05),
		report.Value("p99, Sluice / by hand, all rounds together", latency.p99OfAll(), "×").Within(report.AtMost, 1.05),
		report.Median("throughput, Sluice / by hand", throughput.ratios(), "×").Within(report.AtLeast, 0.95),
	)
	b.report.Add(pathPart+": predictions", latencyFigures(latency)...)
	b.report.Add(pathPart+": predictions",
		report.Median("throughput, Sluice", stats.Summarize(throughput.ours), "requests/s"),
		report.Median("throughput, by hand", stats.Summarize(throughput.byHand), "requests/s"),
	)
}

func latencyFigures(latency latencies) []report.Figure {
	return []report.Figure{
		report.Median("p50, Sluice / by hand", latency.p50.ratios(), "×"),
		report.Median("p50, Sluice - by hand", latency.p50.added(), "ms"),
		report.Median("p50, Sluice", stats.Summarize(latency.p50.ours), "ms"),
		report.Median("p50, by hand", stats.Summarize(latency.p50.byHand), "ms"),
		report.Median("p99, Sluice / by hand, round by round", latency.p99.ratios(), "×"),
		report.Median("p99, Sluice", stats.Summarize(latency.p99.ours), "ms"),
		report.Median("p99, by hand", stats.Summarize(latency.p99.byHand), "ms"),
	}
}

// pair holds what was measured of both ways, round by round.
type pair struct{ ours, byHand []float64 }

func (p pair) ratios() stats.Summary { return stats.Summarize(stats.Ratios(p.ours, p.byHand)) }

// added is how much more ours took.
func (p pair) added() stats.Summary {
	more := make([]float64, 0, len(p.ours))
	for i := range p.ours {
		more = append(more, p.ours[i]-p.byHand[i])
	}
	return stats.Summarize(more)
}

// latencies are quantiles of each round, in milliseconds, and those of all requests, in
// seconds.
type latencies struct{ p50, p99, all pair }

// p99OfAll is the ratio of the p99s of all requests: a round by itself has so few above
// its p99 that the ratio of two says more of chance.
func (l latencies) p99OfAll() float64 {
	return stats.Quantile(l.all.ours, 0.99) / stats.Quantile(l.all.byHand, 0.99)
}

func measureLatency(ctx context.Context, w ways, rounds int) (latencies, error) {
	var all latencies
	for range rounds {
		round, err := latencyRound(ctx, w)
		if err != nil {
			return all, err
		}
		all.all.ours, all.all.byHand = append(all.all.ours, round.ours...), append(all.all.byHand, round.byHand...)
		for q, into := range map[float64]*pair{0.5: &all.p50, 0.99: &all.p99} {
			into.ours = append(into.ours, 1e3*stats.Quantile(round.ours, q))
			into.byHand = append(into.byHand, 1e3*stats.Quantile(round.byHand, q))
		}
	}
	return all, nil
}

// latencyRound returns how long each of a round's requests took, in seconds.
func latencyRound(ctx context.Context, w ways) (pair, error) {
	pools, err := w.open(idleConnections)
	if err != nil {
		return pair{}, err
	}
	defer pools.close()
	return alternate(turnsPerRound, func(way way) ([]float64, error) {
		if _, err := pools[way].InTurn(ctx, forgotten); err != nil {
			return nil, err
		}
		return pools[way].InTurn(ctx, requestsPerTurn)
	})
}

// measureThroughput returns the answers per second of each round.
func measureThroughput(ctx context.Context, w ways) (pair, error) {
	pools, err := w.open(busyConnections)
	if err != nil {
		return pair{}, err
	}
	defer pools.close()
	return alternate(throughputRounds, func(way way) ([]float64, error) {
		rate, err := pools[way].Saturate(ctx, throughputLasts)
		return []float64{rate}, err
	})
}

// way is one of the two that are compared.
type way int

const (
	byOurs way = iota
	byOther
)

// alternate measures both ways n times: the first goes second the next time, so
// that being first is nobody's advantage.
func alternate(n int, measure func(way) ([]float64, error)) (pair, error) {
	var all pair
	for i := range n {
		for _, way := range [...]way{way(i % 2), way((i + 1) % 2)} {
			samples, err := measure(way)
			if err != nil {
				return all, err
			}
			if way == byOurs {
				all.ours = append(all.ours, samples...)
			} else {
				all.byHand = append(all.byHand, samples...)
			}
		}
	}
	return all, nil
}

type pools [2]*closedloop.Pool

func (w ways) open(connections int) (pools, error) {
	ours, err := closedloop.OpenPool(w.ours, connections)
	if err != nil {
		return pools{}, err
	}
	byHand, err := closedloop.OpenPool(w.byHand, connections)
	return pools{byOurs: ours, byOther: byHand}, err
}

func (p pools) close() {
	for _, pool := range p {
		pool.Close()
	}
}

// deployPath deploys a Model without the activator in its path, and routes a host
// on the minimal gateway to the same revision.
func (b *bench) deployPath(ctx context.Context) (ways, error) {
	m := ranker(pathModel, b.Image)
	m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(0)
	if _, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Create(ctx, m, metav1.CreateOptions{}); err != nil {
		return ways{}, fmt.Errorf("creating the Model: %w", err)
	}
	host, revision := "", ""
	err := platform.Until(ctx, 90*time.Second, "the Model to be Ready, without the activator", func(ctx context.Context) (string, error) {
		got, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, pathModel, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting the Model: %w", err)
		}
		if !got.IsReady() || got.Status.URL == nil {
			return fmt.Sprintf("%+v", got.Status.GetCondition("Ready")), nil
		}
		host, revision = got.Status.URL.Host, got.Status.LatestReadyRevision
		return stage.ActivatorIn(ctx, b.clients, namespace, revision)
	})
	if err != nil {
		return ways{}, err
	}
	route := handRoute(pathModel, revision)
	if _, err := b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Create(ctx, route, metav1.CreateOptions{}); err != nil {
		return ways{}, fmt.Errorf("creating the route by hand: %w", err)
	}
	return ways{ours: get(b.gateway, host), byHand: get(b.minimal, handHost(pathModel))}, nil
}

// get asks a host for the ranker's cheapest answer.
func get(address, host string) load.Target {
	return load.Target{Address: address, Host: host, Method: http.MethodGet, Path: stage.ReadyPath}
}

// predict asks for a prediction where the target asks for something else.
func predict(target load.Target, request []byte) load.Target {
	target.Method, target.Path, target.Body = http.MethodPost, platform.InferPath, request
	target.Header = http.Header{"Content-Type": {"application/json"}}
	return target
}

// warm asks both ways until they answer, and then for two seconds.
func warm(ctx context.Context, w ways) error {
	for _, target := range []load.Target{w.ours, w.byHand} {
		if _, err := firstAnswer(ctx, target); err != nil {
			return err
		}
	}
	pools, err := w.open(busyConnections)
	if err != nil {
		return err
	}
	defer pools.close()
	for _, pool := range pools {
		if _, err := pool.Saturate(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

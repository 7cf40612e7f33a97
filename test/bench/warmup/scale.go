package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	scalePart = "1→4, one by one, under 240 requests/s: the first 200 requests of each new replica"
	// scaleRate leaves two cores room, and a replica its first requests within 4 s.
	scaleRate = 240
	// settled is how long the load is there before anything changes.
	settled = 2 * time.Second
	// scaleLasts bounds the load; it ends once each new replica was steady for so long.
	scaleLasts = 40 * time.Second
	steadyFor  = 6 * time.Second
)

// measureScale scales each Model from one replica to four. Those with a warm-up, whose
// 99th percentile is judged, are scaled twice.
func (b *bench) measureScale(ctx context.Context) error {
	var runs []subject
	for _, v := range variants {
		runs = append(runs, v.warm, v.cold)
	}
	for _, v := range variants {
		runs = append(runs, v.warm)
	}
	seen := map[string]*phases{}
	for _, s := range runs {
		endpoints, err := b.populate(ctx, s)
		if err != nil {
			return err
		}
		b.Sayf("scale: %s", s.name)
		got, err := b.scaleUp(ctx, s, endpoints[s.name])
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if seen[s.name] == nil {
			seen[s.name] = &phases{}
		}
		seen[s.name].add(got)
	}
	for _, v := range variants {
		b.reportScale(v, seen[v.cold.name], seen[v.warm.name])
	}
	return nil
}

// scaleUp takes a Model to one replica, under load to four, and lets it go to zero.
func (b *bench) scaleUp(ctx context.Context, s subject, to platform.Endpoint) (phases, error) {
	if err := b.scale(ctx, s.name, 1); err != nil {
		return phases{}, err
	}
	pods, err := b.replicas(ctx, s.name, 1)
	if err != nil {
		return phases{}, err
	}
	// Without a warm-up the replica that is there has yet to pay for its own first request.
	if status, answer, _, err := to.Post(ctx, platform.InferPath, b.prediction); err != nil || status != http.StatusOK {
		return phases{}, fmt.Errorf("the first answer: status %d, %.200q, error %w", status, answer, err)
	}
	before := names(pods)
	answers, err := b.loadWhile(ctx, to, func(ctx context.Context, ledger *platform.Ledger) error {
		// One after the other: what three starts at once take of two cores would be
		// seen, and nothing of the replicas.
		for fresh := 1; fresh <= mostReplicas-len(before); fresh++ {
			if err := b.scale(ctx, s.name, len(before)+fresh); err != nil {
				return err
			}
			if err := allServed(ctx, ledger, fresh, before); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return phases{}, err
	}
	if err := b.scale(ctx, s.name, 0); err != nil {
		return phases{}, err
	}
	return split(answers, before, mostReplicas-len(before))
}

func names(pods []corev1.Pod) map[string]bool {
	out := map[string]bool{}
	for _, pod := range pods {
		out[pod.Name] = true
	}
	return out
}

// allServed waits until so many new replicas have served their first requests.
func allServed(ctx context.Context, ledger *platform.Ledger, replicas int, before map[string]bool) error {
	return platform.Until(ctx, scaleLasts, "the new replicas to serve", func(context.Context) (string, error) {
		fresh := ledger.Answers().First(first, before)
		if len(fresh) < replicas*first {
			return fmt.Sprintf("they have served %v", fresh.Replicas()), nil
		}
		return "", nil
	})
}

// loadWhile drives a load from before something is done until it was steady after
// that. Each request must be answered with 2xx.
func (b *bench) loadWhile(ctx context.Context, to platform.Endpoint, do func(context.Context, *platform.Ledger) error) (platform.Answers, error) {
	ledger, stop, done := &platform.Ledger{}, make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(stop)
		err := command.Pause(ctx, settled)
		if err == nil {
			err = do(ctx, ledger)
		}
		if err == nil {
			err = command.Pause(ctx, steadyFor)
		}
		done <- err
	}()
	got, err := b.drive(ctx, to, driving{rate: scaleRate, lasts: settled + scaleLasts + steadyFor, stop: stop, into: ledger})
	if err != nil {
		cancel()
	}
	if failed := <-done; err == nil {
		err = failed
	}
	if err == nil {
		err = whole(got)
	}
	return ledger.Answers(), err
}

// reportScale holds fresh replicas against one that has long been steady, in the same
// seconds: those of a scale-up, which are busy for all on a machine of two cores. What the
// quiet ones after them are like is told.
func (b *bench) reportScale(v variant, cold, warm *phases) {
	part := scalePart + ": " + v.title
	b.report.Add(part,
		report.Value("with warm-up: p99 / that of the steady replica meanwhile", warm.slower(warm.beside), "×").Within(report.AtMost, 1.1),
		report.Value("without warm-up: p99 / that of the steady replica meanwhile", cold.slower(cold.beside), "×"),
		report.Value("with warm-up: p99 / that of all later", warm.slower(warm.steady), "×"),
		report.Value("without warm-up: p99 / that of all later", cold.slower(cold.steady), "×"),
		report.Value("with warm-up: the steady replica meanwhile, p99", milliseconds(warm.beside.Latency(0.99)), "ms"),
		report.Value("without warm-up: the steady replica meanwhile, p99", milliseconds(cold.beside.Latency(0.99)), "ms"),
	)
	b.report.Add(part, cold.figures(v.cold.title)...)
	b.report.Add(part, warm.figures(v.warm.title)...)
}

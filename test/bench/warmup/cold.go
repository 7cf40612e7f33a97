package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	coldPart = "Cold start: one request at zero replicas, against a plain Knative Service on the same gateway"
	// coldRounds is how often each arm is woken. The kubelet looks at a new pod once a
	// second, and the activator every 200 ms, beginning whenever they like, which is most
	// of the difference from run to run.
	coldRounds = 21
	// calm lies before each: what comes after a start, in the gateways and in Knative,
	// would hold up the next one.
	calm = 2 * time.Second
)

// The arms of the comparison; all serve the ranker as it is.
var (
	plain     = subject{name: "plain", title: "plain Knative Service"}
	without   = subject{name: "without", title: "Model without warm-up"}
	withEmpty = subject{name: "empty", title: "Model with an empty warm-up", changes: []change{empty}}
)

// measureCold wakes the arms in turn, each round beginning with another. A round is over
// before the first of them goes back to zero, and begins once all are there: nothing
// else starts or stops while one starts.
func (b *bench) measureCold(ctx context.Context) error {
	endpoints, err := b.populate(ctx, without, withEmpty)
	if err != nil {
		return err
	}
	if endpoints[plain.name], err = b.createPlain(ctx); err != nil {
		return err
	}
	b.Sayf("cold: %d rounds", coldRounds)
	arms := []subject{plain, without, withEmpty}
	took := map[string][]float64{}
	for round := range coldRounds {
		if err := b.rest(ctx, plain.name, without.name, withEmpty.name); err != nil {
			return err
		}
		for i := range arms {
			arm := arms[(round+i)%len(arms)]
			if err := command.Pause(ctx, calm); err != nil {
				return err
			}
			first, err := b.wake(ctx, endpoints[arm.name])
			if err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
			took[arm.name] = append(took[arm.name], first.Latency.Seconds())
		}
	}
	b.reportCold(took)
	return nil
}

// createPlain creates the plain Knative Service and waits until it is Ready.
func (b *bench) createPlain(ctx context.Context) (platform.Endpoint, error) {
	m := b.model(plain)
	m.SetDefaults(ctx)
	services := b.clients.Serving.ServingV1().Services(namespace)
	if _, err := services.Create(ctx, plainService(m), metav1.CreateOptions{}); err != nil {
		return platform.Endpoint{}, fmt.Errorf("creating Knative Service %s: %w", plain.name, err)
	}
	endpoint := platform.Endpoint{Address: b.gateway}
	err := platform.Until(ctx, readyWithin, "Knative Service "+plain.name+" to be Ready", func(ctx context.Context) (string, error) {
		s, err := services.Get(ctx, plain.name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if !s.IsReady() || s.Status.URL == nil {
			return fmt.Sprintf("conditions %v", s.Status.Conditions), nil
		}
		endpoint.Host = s.Status.URL.Host
		return "", nil
	})
	return endpoint, err
}

func (b *bench) reportCold(took map[string][]float64) {
	reference := stats.Median(took[plain.name])
	b.report.Add(coldPart,
		report.Value("p50, Model without warm-up / plain", stats.Median(took[without.name])/reference, "×").Within(report.AtMost, 1.05),
		report.Value("p50, Model with an empty warm-up / plain", stats.Median(took[withEmpty.name])/reference, "×").Within(report.AtMost, 1.10),
	)
	for _, arm := range []subject{plain, without, withEmpty} {
		b.report.Add(coldPart, report.Median(arm.title, stats.Summarize(took[arm.name]), "s"))
	}
}

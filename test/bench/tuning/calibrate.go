package main

import (
	"context"
	"time"

	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/closedloop"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	// asked is how many requests, one after another, tell how long a replica takes for one.
	asked = 20
	// grown is how many replicas a Model is made to have at most, whose starts are measured.
	// They start together, as they do where demand comes at once.
	grown = 6
	// startsWithin bounds the wait for replicas, goneWithin that for those to go that aren't
	// needed any more.
	startsWithin, goneWithin = time.Minute, 90 * time.Second
)

// subject is a Model whose demand is predicted.
type subject struct {
	model *v1alpha1.Model
	at    platform.Endpoint
	trail *platform.Trail
	// latencies are those of requests that don't wait, in seconds.
	latencies []float64
}

// serve creates a Model and measures how long its requests take. The trail ends with ctx.
func (b *bench) serve(ctx context.Context, m *v1alpha1.Model) (*subject, error) {
	at, err := stage.Deploy(ctx, b.clients, b.gateway, m)
	if err != nil {
		return nil, err
	}
	s := &subject{model: m, at: at}
	if s.trail, err = platform.Follow(ctx, b.clients, namespace, m.Name); err != nil {
		return nil, err
	}
	connection, err := closedloop.OpenPool(sleeping(at), 1)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	// The first may have to wait for a replica.
	if _, err := connection.InTurn(ctx, 1); err != nil {
		return nil, err
	}
	s.latencies, err = connection.InTurn(ctx, asked)
	return s, err
}

// starts has a Model grow, and returns how long its new replicas took to start. They stay until
// it is tuned back.
func (b *bench) starts(ctx context.Context, s *subject) ([]time.Duration, error) {
	more := s.model.Spec.Autoscaling
	to := min(grown, *more.MaxReplicas)
	more.MinReplicas = ptr.Int32(to)
	began := time.Now()
	if err := b.tune(ctx, s.model.Name, more); err != nil {
		return nil, err
	}
	if err := reach(ctx, s.trail, startsWithin, to); err != nil {
		return nil, err
	}
	return coldStarts(s.trail.Since(began)), nil
}

// back has a Model be tuned as it was made.
func (b *bench) back(ctx context.Context, s *subject) error {
	return b.tune(ctx, s.model.Name, s.model.Spec.Autoscaling)
}

// coldStarts are the times from when replicas were asked for until they were ready, of those
// whose beginning was seen: who is asked for first is taken to be ready first.
func coldStarts(moments []platform.Moment) []time.Duration {
	var due []time.Time
	var took []time.Duration
	for i := 1; i < len(moments); i++ {
		before, now := moments[i-1], moments[i]
		for n := before.Desired(); n < now.Desired(); n++ {
			due = append(due, now.At)
		}
		if fewer := int(before.Desired() - now.Desired()); fewer > 0 {
			due = due[:max(0, len(due)-fewer)]
		}
		for n := before.Ready(); n < now.Ready() && len(due) > 0; n++ {
			took, due = append(took, now.At.Sub(due[0])), due[1:]
		}
	}
	return took
}

// measured is what is known of a Model's replicas that took so long to start, for the goal's
// percentile.
func (s *subject) measured(starts []time.Duration) whatif.Measured {
	sum := 0.
	for _, l := range s.latencies {
		sum += l
	}
	mean := seconds(sum / float64(len(s.latencies)))
	return whatif.Measured{
		Latency: mean, TailLatency: max(mean, seconds(stats.Quantile(s.latencies, percentile/100.))),
		Parallel: float64(*s.model.Spec.ContainerConcurrency), ColdStarts: starts,
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
)

// dayWithin bounds the time that an answer about a day may take, in seconds.
const dayWithin = 10

// measureSimulation asks what would come of a day, with as many courses as an answer has, and
// with one.
func (b *bench) measureSimulation(ctx context.Context) error {
	q := whatif.Question{
		Demand: day(), Model: b.startOf("day", 1), Cluster: b.cluster, Measured: assumed, Goal: whatif.Goal{Percentile: percentile, Within: goal},
	}
	q.Model.Spec.Autoscaling.MaxReplicas = nil
	return command.Ordinarily(func() error {
		for _, runs := range []int{whatif.LongRuns, 1} {
			q.Runs = runs
			began := time.Now()
			a, err := whatif.Predict(ctx, q, nil)
			if err != nil {
				return fmt.Errorf("asking about a day: %w", err)
			}
			f := report.Value(fmt.Sprintf("24 hours, %d runs", runs), time.Since(began).Seconds(), "s")
			if runs == whatif.LongRuns {
				f = f.Within(report.AtMost, dayWithin)
			}
			b.report.Add("Simulation: one answer", f)
			b.Sayf("simulate: %d runs: %.0f replica-seconds of %d seconds, %.0f requests", runs, a.Model.ReplicaSeconds.Median, a.Seconds, a.Model.Offered.Median)
		}
		return nil
	})
}

// day is the demand of one: low by night, two peaks, a burst each hour, and what chance adds.
func day() trace.Trace {
	const seconds, hour = 86400, 3600
	chance := rand.New(rand.NewPCG(3, 3)) //nolint:gosec // a trace has to be the same each time
	t := trace.Trace{Start: time.Unix(0, 0), Seconds: make([]float32, seconds)}
	for i := range t.Seconds {
		at := float64(i) / hour
		mean := 150 - 120*math.Cos(2*math.Pi*at/24) - 30*math.Cos(2*math.Pi*at/6)
		if i%hour < 20 {
			mean += 100
		}
		t.Seconds[i] = float32(math.Max(0, math.Round(mean+math.Sqrt(math.Max(0, mean))*chance.NormFloat64())))
	}
	return t
}

package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
)

const (
	proposalsPart = "Proposals: five starts, aims of ¼ to 4 times the right one, simulated"
	// proposed is how long the demand is for which a tuning is proposed.
	proposed = 90 * time.Second
	// rightAim is what an autoscaler that goes by requests a second had better aim at.
	rightAim = .7 * perReplica
	// percentile of the requests of a second should be answered within goal.
	percentile, goal = 90, time.Second
	// nearTheBest is how many replica-seconds a proposal may take, of those that the best takes.
	nearTheBest = 1.1
	// searchRuns is how many courses each tuning is simulated by.
	searchRuns = 3
	// searchWithin bounds the search of all tunings for one demand.
	searchWithin = 2 * time.Minute
)

// wrongStarts are the parts of the right aim that Models have before anything is proposed.
var wrongStarts = []float64{.25, .5, 1, 2, 4}

// loads are what is offered.
var loads = []kind{{name: "steps", shape: steps}, {name: "a ramp", shape: ramp}, {name: "bursts", shape: bursts}}

// aiming has an autoscaler aim at so many requests a second.
func aiming(a *v1alpha1.AutoscalingSpec, aim float64) {
	target := math.Max(1, math.Ceil(aim))
	a.Metric, a.Target, a.TargetUtilization = v1alpha1.MetricRPS, ptr.Int32(int32(target)), ptr.Int32(int32(math.Round(100*aim/target)))
}

// startOf is a Model that aims at so much of the right aim.
func (b *bench) startOf(name string, part float64) *v1alpha1.Model {
	return b.sleeper(name, func(m *v1alpha1.Model) { aiming(&m.Spec.Autoscaling, part*rightAim) })
}

// assumed is what replicas are like in what is only simulated.
var assumed = whatif.Measured{
	Latency: takes, Parallel: concurrency, ColdStarts: []time.Duration{2 * time.Second, 3 * time.Second, 4 * time.Second},
}

// measureProposals proposes tunings, and tries some live.
func (b *bench) measureProposals(ctx context.Context) error {
	// The search takes a core for a minute or two. It isn't what anybody waits for here.
	err := command.Ordinarily(func() error {
		for i, of := range loads {
			if err := b.propose(ctx, i, of); err != nil {
				return fmt.Errorf("%s: %w", of.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.tryProposals(ctx)
}

// propose has each start of a demand be mended, and compares what is proposed with the best
// of all tunings.
func (b *bench) propose(ctx context.Context, number int, of kind) error {
	ctx, cancel := context.WithTimeout(ctx, searchWithin)
	defer cancel()
	q := whatif.Question{
		Demand: demand(of.shape, proposed, uint64(100+number)), Cluster: b.cluster,
		Measured: assumed, Goal: whatif.Goal{Percentile: percentile, Within: goal}, Runs: searchRuns,
	}
	best, worst, kept, inForce := math.Inf(1), 0., 0, make([]float64, 0, len(wrongStarts))
	var near []whatif.Settings
	for _, part := range wrongStarts {
		q.Model = b.startOf("start", part)
		p, err := whatif.Propose(ctx, q, whatif.Bounds{})
		if err != nil {
			return err
		}
		if p.Kept {
			kept++
		}
		worst = math.Max(worst, p.Answer.Changed.ReplicaSeconds.Median)
		inForce = append(inForce, p.Answer.Model.ReplicaSeconds.Median)
		near = append(near, p.Settings)
	}
	began := time.Now()
	places := grid(near)
	var by whatif.Settings
	for _, s := range places {
		q.Model = s.On(b.startOf("start", 1))
		a, err := whatif.Predict(ctx, q, nil)
		if err != nil {
			return err
		}
		if used := a.Model.ReplicaSeconds.Median; keeps(a.Model) && used < best {
			best, by = used, s
		}
	}
	b.Sayf("proposals: %s: %.0f replica-seconds by %s, %.0f at best of %d, by %s; the starts take %.0f", of.name, worst, near[0], best, len(places), by, inForce)
	b.report.Add(proposalsPart,
		report.Value(of.name+": proposals that keep the goal", float64(kept), "").Within(report.AtLeast, float64(len(wrongStarts))),
		report.Value(of.name+": replica-seconds of the worst / of the best of all", worst/best, "×").Within(report.AtMost, nearTheBest),
		report.Value(of.name+": replica-seconds of the best", best, "s"),
		report.Value(of.name+": tunings that were tried for it", float64(len(places)), ""),
		report.Value(of.name+": which took", time.Since(began).Seconds(), "s"),
	)
	return nil
}

// keeps is true of what keeps the bounds that a proposal has by default, in each course.
func keeps(f whatif.Figures) bool {
	failed := f.Failed.High / math.Max(1, f.Offered.Low)
	return f.OverShare.High <= whatif.DefaultOverShare && f.RefusedShare.High-whatif.ErrorOfRefused+failed <= whatif.DefaultRefusedShare
}

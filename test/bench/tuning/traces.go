package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/census"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/load"
)

const (
	// abreast is how many traces are run side by side, each on its own Model: as many as the
	// machine's cores bear.
	abreast = 3
	// lead is how long the demand that a trace begins with is there before it: until the
	// autoscaler's window is full of it, and a little more.
	lead = window + 3*time.Second
	// backAfter is when the replicas go that are there for their starts to be measured.
	backAfter = 3 * time.Second
	// mostReplicas is what a Model may have that isn't to come to its most.
	mostReplicas = 6
)

// kind of a trace.
type kind struct {
	name  string
	shape shape
	// change is what the Model is different in.
	change func(*v1alpha1.AutoscalingSpec)
	// then, if set, is what it is tuned to in the middle.
	then func(*v1alpha1.AutoscalingSpec)
}

// kinds take turns. Those that run side by side are neighbours.
var kinds = []kind{
	{name: "steps", shape: steps},
	{name: "from zero", shape: fromZero, change: func(a *v1alpha1.AutoscalingSpec) { a.MinReplicas = ptr.Int32(0) }},
	{name: "at maxReplicas", shape: beyond, change: func(a *v1alpha1.AutoscalingSpec) { a.MaxReplicas = ptr.Int32(2) }},
	{name: "a ramp", shape: ramp},
	{name: "bursts", shape: bursts},
	{name: "tuned in the middle", shape: even, then: func(a *v1alpha1.AutoscalingSpec) { a.TargetUtilization = ptr.Int32(40) }},
}

// traceRun is one trace.
type traceRun struct {
	kind
	*subject
	// number tells traces of a kind apart, and is their chance's seed.
	number int
	demand trace.Trace
	came   outcome
}

// title is what a trace is called in the report.
func (r *traceRun) title() string { return fmt.Sprintf("%d, %s", r.number+1, r.name) }

// measureTraces predicts what comes of each trace, and runs it.
func (b *bench) measureTraces(ctx context.Context) error {
	c, end := census.Begin(ctx, b.clients, namespace)
	defer end()

	var starts []time.Duration
	var all []outcome
	for first := 0; first < b.traces; first += abreast {
		runs, err := b.prepare(ctx, first, &starts)
		if err != nil {
			return err
		}
		group, running := errgroup.WithContext(ctx)
		for _, r := range runs {
			group.Go(func() error { return b.runTrace(running, r, starts, c) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for _, r := range runs {
			all = append(all, r.came)
			if err := b.dismiss(ctx, r.model.Name); err != nil {
				return err
			}
		}
	}
	b.report.Add(fmt.Sprintf("Traces of %s: predicted, and then run", b.lasts), figuresOf(all)...)
	b.report.Add("What was measured of replicas", startFigure(starts))
	return nil
}

// prepare has the Models of a few traces be ready, of which so far starts were measured.
func (b *bench) prepare(ctx context.Context, first int, starts *[]time.Duration) ([]*traceRun, error) {
	runs := make([]*traceRun, min(abreast, b.traces-first))
	group, deploying := errgroup.WithContext(ctx)
	for i := range runs {
		r := &traceRun{kind: kinds[(first+i)%len(kinds)], number: first + i}
		r.demand = demand(r.shape, b.lasts, uint64(r.number))
		runs[i] = r
		m := b.sleeper(fmt.Sprintf("trace-%d", r.number+1), func(m *v1alpha1.Model) {
			if r.change != nil {
				r.change(&m.Spec.Autoscaling)
			}
		})
		group.Go(func() (err error) {
			if r.subject, err = b.serve(ctx, m); err != nil {
				return err
			}
			return deploying.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// One after the other: those that start together wait for the same cores.
	for _, r := range runs {
		took, err := b.starts(ctx, r.subject)
		if err != nil {
			return nil, fmt.Errorf("measuring the starts of %s: %w", r.model.Name, err)
		}
		*starts = append(*starts, took...)
	}
	for _, r := range runs {
		if begins(r.demand) > 0 {
			continue
		}
		if err := b.back(ctx, r.subject); err != nil {
			return nil, err
		}
		if err := reach(ctx, r.trail, goneWithin, 0); err != nil {
			return nil, fmt.Errorf("bringing Model %s to rest: %w", r.model.Name, err)
		}
	}
	b.Sayf("traces: %d to %d are prepared; starts took %s", first+1, first+len(runs), (*starts)[max(0, len(*starts)-6):])
	return runs, nil
}

// runTrace predicts what comes of a trace, a second before it begins, and has it come.
func (b *bench) runTrace(ctx context.Context, r *traceRun, starts []time.Duration, c *census.Census) error {
	q := whatif.Question{Demand: r.demand, Model: r.model, Cluster: b.cluster, Measured: measured(r.latencies, starts)}
	if r.then != nil {
		tuned := r.model.DeepCopy()
		r.then(&tuned.Spec.Autoscaling)
		q.Changes = []whatif.Change{{After: (b.lasts / 2).Truncate(time.Second), Model: tuned}}
	}
	var beside errgroup.Group
	at := func(after time.Duration, do func() error) func(load.Second) {
		return func(s load.Second) {
			if s.Index+1 == int(after.Seconds()) {
				beside.Go(do)
			}
		}
	}
	predict := at(lead-time.Second, func() error {
		ready := r.trail.Now().Ready()
		q.Ready = &ready
		a, err := whatif.Predict(ctx, q, nil)
		if err == nil {
			r.came.predicted = a.Model
		}
		return err
	})
	// Did it have too few replicas at first, the autoscaler would be in its panic for a window.
	back := at(backAfter, func() error { return b.back(ctx, r.subject) })
	tune := func(load.Second) {}
	if r.then != nil {
		tune = at(lead+q.Changes[0].After, func() error { return b.tune(ctx, r.model.Name, q.Changes[0].Model.Spec.Autoscaling) })
	}
	callers, err := openloop.Call(ctx, openloop.Load{
		Target: sleeping(r.at), Schedule: scheduled(r.demand, lead, uint64(r.number)),
		EachSecond: func(s load.Second) { back(s); predict(s); tune(s) },
	})
	if besides := beside.Wait(); err == nil {
		err = besides
	}
	if err != nil {
		return fmt.Errorf("trace %s: %w", r.title(), err)
	}
	from := callers.Start.Add(lead)
	to := from.Add(b.lasts)
	latencies, refused := openloop.Admitted(callers.Between(from, to))
	r.came.name, r.came.refused, r.came.offered = r.title(), float64(refused), float64(refused+len(latencies))
	r.came.replicaSeconds = c.Between(r.model.Name, from, to).Seconds
	b.Sayf("trace %s: %s", r.title(), r.came)
	b.Sayf("trace %s: replicas that there were, by second: %v", r.title(), byTheSecond(c, r.model.Name, from, to))
	return nil
}

// byTheSecond is how many replicas a Model had on average in each second.
func byTheSecond(c *census.Census, model string, from, to time.Time) []float64 {
	var counts []float64
	for ; from.Before(to); from = from.Add(time.Second) {
		counts = append(counts, float64(int(10*c.Between(model, from, from.Add(time.Second)).Seconds+.5))/10)
	}
	return counts
}

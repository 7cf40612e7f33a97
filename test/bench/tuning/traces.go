package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/census"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/load"
)

const (
	// together is how many traces are prepared before the first of them is run, each on its own
	// Model.
	together = 6
	// backAfter is when the autoscaler alone decides how many replicas there are: once its
	// window is full of the demand that a trace begins with.
	backAfter = window + 2*time.Second
	// lead is how long that demand is there before the trace.
	lead = backAfter + 5*time.Second
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

// kinds take turns.
var kinds = []kind{
	{name: "steps", shape: steps},
	{name: "from zero", shape: fromZero, change: func(a *v1alpha1.AutoscalingSpec) { a.MinReplicas = ptr.Int32(0) }},
	{name: "at maxReplicas", shape: beyond, change: func(a *v1alpha1.AutoscalingSpec) { a.MaxReplicas = ptr.Int32(2) }},
	{name: "a ramp", shape: ramp},
	{name: "bursts", shape: bursts},
	{name: "tuned in the middle", shape: even, then: func(a *v1alpha1.AutoscalingSpec) { a.TargetUtilization = ptr.Int32(50) }},
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
	for first := 0; first < b.traces; first += together {
		runs, err := b.prepare(ctx, first, &starts)
		if err != nil {
			return err
		}
		// One after the other: replicas that start take the cores that others' requests need. Only
		// the demand before a trace, which has all stay as it is, comes beside the one before.
		group, running := errgroup.WithContext(ctx)
		for i, r := range runs {
			group.Go(func() error {
				if err := command.Pause(running, time.Duration(i)*b.lasts); err != nil {
					return fmt.Errorf("before trace %s: %w", r.title(), err)
				}
				return b.runTrace(running, r, starts, c)
			})
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
	runs := make([]*traceRun, min(together, b.traces-first))
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
		if err := b.tune(ctx, r.model.Name, r.held()); err != nil {
			return nil, err
		}
	}
	for _, r := range runs {
		if err := reach(ctx, r.trail, goneWithin, *r.held().MinReplicas); err != nil {
			return nil, fmt.Errorf("bringing Model %s to rest: %w", r.model.Name, err)
		}
	}
	b.Sayf("traces: %d to %d are prepared; starts took %s", first+1, first+len(runs), *starts)
	return runs, nil
}

// held is how a Model is tuned before its trace: it has the replicas that the demand takes which
// the trace begins with. Had it fewer, the autoscaler would panic when that demand comes.
func (r *traceRun) held() v1alpha1.AutoscalingSpec {
	of := r.model.Spec.Autoscaling
	if n := int32(math.Ceil(begins(r.demand) / (2 * level))); n > *of.MinReplicas {
		of.MinReplicas = &n
	}
	return of
}

// runTrace predicts what comes of a trace, a second before it begins, and has it come.
func (b *bench) runTrace(ctx context.Context, r *traceRun, starts []time.Duration, c *census.Census) error {
	q := whatif.Question{Demand: r.demand, Model: r.model, Cluster: b.cluster, Measured: r.measured(starts)}
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

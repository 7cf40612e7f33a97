package verdict

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// quickest is how long a replica works on a request at least, where that isn't known.
	quickest = time.Millisecond
	// fewRuns are as many as a figure is of where more would take long: of more than so much demand.
	fewRuns, fewRunsFrom = 3, 6 * time.Hour
)

// Trial is one whose time has passed and no bound of which was passed.
type Trial struct {
	// Recorded is what came to the Model, and which replicas were ready, From when the trial
	// began To its end, at least.
	Recorded trace.Trace
	From, To time.Time
	// Model says what it says itself, and what it tries.
	Model *v1alpha1.Model
	// Cluster is how Knative scales where the Model doesn't say; nil is as Knative comes.
	Cluster *autoscalerconfig.Config
	// Latency is how long a replica works on a request; 0 where that isn't known.
	Latency time.Duration
	// Starts are the times that replicas took to start; none where they aren't known.
	Starts []time.Duration
}

// Of is what is found of a trial. An error is the context's; of what can't be found out the
// verdict says why.
func Of(ctx context.Context, t Trial) (v1alpha1.TrialVerdict, error) {
	is, demand := measure(t.Recorded, t.From, t.To)
	if why := is.tooLittle(); why != "" {
		return unverified(why), nil
	}
	var replays []replayed
	for _, latency := range t.latencies() {
		r, err := t.replay(ctx, is, demand, latency)
		switch {
		case ctx.Err() != nil:
			return v1alpha1.TrialVerdict{}, errors.Join(ctx.Err(), err)
		case err != nil:
			return unverified(fmt.Sprintf("what came of it can't be replayed: %v", err)), nil
		}
		replays = append(replays, r)
	}
	return decide(is, replays), nil
}

// goal is how long requests may take.
func (t Trial) goal() whatif.Goal {
	latency := t.Model.Spec.Trial.Unless.Latency
	goal := whatif.Goal{Percentile: float64(v1alpha1.DefaultTrialPercentile), Within: latency.Above.Duration}
	if latency.Percentile != nil {
		goal.Percentile = float64(*latency.Percentile)
	}
	return goal
}

// latencies are the times that a replica may work on a request. Where that isn't known it may
// be next to nothing, or as long as is usual: whatever is found has to hold for both. It is
// no longer than requests may take, as these took no longer.
func (t Trial) latencies() []time.Duration {
	most := t.goal().Within
	if t.Latency > 0 {
		return []time.Duration{min(t.Latency, most)}
	}
	longest := whatif.DefaultLatency
	if rate := t.Model.Spec.Limit.RequestsPerSecondPerReplica; rate != nil && rate.AsApproximateFloat64() > 0 {
		longest = max(longest, time.Duration(math.Min(float64(time.Hour), float64(time.Second)/rate.AsApproximateFloat64())))
	}
	return []time.Duration{min(quickest, most), min(longest, most)}
}

// replay has the demand come with what the Model says, and with what it tries.
func (t Trial) replay(ctx context.Context, is measured, demand trace.Trace, latency time.Duration) (replayed, error) {
	runs := 0 // as usual
	if time.Duration(is.seconds)*time.Second > fewRunsFrom {
		runs = fewRuns
	}
	answer, err := whatif.Predict(ctx, whatif.Question{
		Demand: demand, Model: t.Model, Cluster: t.Cluster, Goal: t.goal(), Ready: &is.first, Runs: runs,
		Measured: whatif.Measured{Latency: latency, ColdStarts: t.Starts},
	}, t.Model.Tried())
	if err != nil {
		return replayed{}, err //nolint:wrapcheck // it says what can't be
	}
	r := replayed{runs: answer.Runs, base: answer.Model, tried: *answer.Changed, more: answer.Difference.ReadySeconds}
	if t.Latency == 0 {
		r.assumed = fmt.Sprintf("how long a replica works on a request isn't known, and %s is assumed", latency)
	}
	return r, nil
}

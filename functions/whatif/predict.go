package whatif

import (
	"context"
	"errors"
	"fmt"
	"time"

	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// DefaultRuns is how many courses of the demand a figure is of, and mostRuns the most.
	DefaultRuns = 41
	mostRuns    = 101
	// LongRuns are those of a demand of more than an hour, in which chance averages out.
	LongRuns = 11
	// mostReplicas bounds those that a replay begins with.
	mostReplicas = 100_000
)

// Question is what is asked.
type Question struct {
	// Demand is what came, by second.
	Demand trace.Trace
	// Model is the one in force. What its limit.queue lets wait is taken for refused: the
	// demand doesn't say what of it comes from inside the cluster.
	Model *v1alpha1.Model
	// Changes are what that one is tuned to while the demand comes, in order. Another Model that
	// it is compared with, or that is proposed, stays as it is.
	Changes []Change
	// Cluster is how Knative scales where the Model doesn't say; nil is as Knative comes.
	Cluster *autoscalerconfig.Config
	// Measured is what is known of its replicas.
	Measured Measured
	// Goal is the latency that requests should keep; without one no second is over it.
	Goal Goal
	// Ready is how many replicas there are when the demand begins; nil is as many as the
	// autoscaler would have had, had the demand of the first 10 s always been there.
	Ready *int32
	// Runs are how many courses are run: 1 to 101, 0 is 41, or 11 of more than an hour.
	Runs int

	// fine has each course pass step by step.
	fine bool
}

// Change is another tuning that comes into force.
type Change struct {
	// After is how long after the demand's beginning: whole seconds, before its end.
	After time.Duration
	// Model is the one in force from then on. Only its tuning counts: spec.autoscaling, spec.limit
	// and its autoscaling.knative.dev/* annotations, as far as a revision that is there takes
	// them up.
	Model *v1alpha1.Model
}

// Answer is what would come of a Model, and of another one.
type Answer struct {
	Model Figures `json:"model"`
	// Changed and Difference, what of it is more than the Model's, are there if another one
	// was asked about. Runs of both meet the same requests.
	Changed    *Figures `json:"changed,omitempty"`
	Difference *Figures `json:"difference,omitempty"`
	// Seconds of the demand are known, and MissingShare isn't, 0 to 1. No figure has anything
	// of what is missing.
	Seconds      int     `json:"seconds"`
	MissingShare float64 `json:"missingShare"`
	// Runs are how many courses each interval is of.
	Runs int `json:"runs"`
	// Assumed is what wasn't measured and has a default, in words.
	Assumed []string `json:"assumed,omitempty"`
}

func (q Question) check() error {
	if err := q.Demand.Check(); err != nil {
		return err
	}
	if q.Model == nil {
		return errors.New("model is missing: name the Model that is asked about")
	}
	if err := q.Measured.check(); err != nil {
		return err
	}
	if err := q.Goal.check(); err != nil {
		return err
	}
	if q.Runs < 0 || q.Runs > mostRuns {
		return fmt.Errorf("runs is %d: give 1 to %d, or 0 for %d, or %d where the demand is of more than an hour", q.Runs, mostRuns, DefaultRuns, LongRuns)
	}
	if err := q.checkChanges(); err != nil {
		return err
	}
	if q.Ready != nil && (*q.Ready < 0 || *q.Ready > mostReplicas) {
		return fmt.Errorf("ready is %d: give 0 to %d replicas", *q.Ready, mostReplicas)
	}
	return nil
}

func (q Question) checkChanges() error {
	lasts, before := time.Duration(len(q.Demand.Seconds))*time.Second, time.Duration(0)
	for i, c := range q.Changes {
		switch {
		case c.Model == nil:
			return fmt.Errorf("changes[%d].model is missing: name the Model that is in force from then on", i)
		case c.After%time.Second != 0 || c.After < before || c.After >= lasts:
			return fmt.Errorf("changes[%d].after is %s: give whole seconds from %s on, before the demand ends after %s", i, c.After, before, lasts)
		}
		before = c.After
	}
	return nil
}

func (q Question) runs() int {
	switch {
	case q.Runs > 0:
		return q.Runs
	case len(q.Demand.Seconds) > shortDemand:
		return LongRuns
	default:
		return DefaultRuns
	}
}

// Predict says what would come of the demand with the Model, and with a changed one unless
// that is nil. An error is about what was asked, or the context's.
func Predict(ctx context.Context, q Question, changed *v1alpha1.Model) (*Answer, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	is, assumed, err := q.setupOf(q.Model)
	if err != nil {
		return nil, err
	}
	if err := is.change(); err != nil {
		return nil, err
	}
	answer := &Answer{Seconds: q.Demand.Known(), MissingShare: q.Demand.MissingShare(), Runs: q.runs(), Assumed: assumed}
	base, err := is.all(ctx)
	if err != nil {
		return nil, err
	}
	answer.Model = figuresOf(base, nil)
	if changed == nil {
		return answer, nil
	}
	// What was assumed of the one goes for the other: tuning changes no replica.
	q.Measured = is.known
	would, _, err := q.setupOf(changed)
	if err != nil {
		return nil, fmt.Errorf("the changed Model: %w", err)
	}
	other, err := would.all(ctx)
	if err != nil {
		return nil, err
	}
	figures, difference := figuresOf(other, nil), figuresOf(other, base)
	answer.Changed, answer.Difference = &figures, &difference
	return answer, nil
}

// all are the runs.
func (s *setup) all(ctx context.Context) ([]outcome, error) {
	outcomes := make([]outcome, s.runs())
	for i := range outcomes {
		var err error
		if outcomes[i], _, err = s.once(ctx, i, nil); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

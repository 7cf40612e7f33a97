package asked

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Replayed is the demand that an answer is about.
type Replayed struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Answer is what would come of a Model, and of the changed one.
type Answer struct {
	*whatif.Answer
	Replayed
}

// Proposal is how a Model should be tuned.
type Proposal struct {
	*whatif.Proposal
	Replayed
	// Refused is why the Model wouldn't be let in so tuned, as by the caps of its tenant.
	Refused string `json:"refused,omitempty"`
}

// kind is one of questions.
type kind struct {
	name string
	// within bounds what is computed for an answer.
	within time.Duration
	answer func(ctx context.Context, f *Function, a asking) (any, error)
}

var (
	predicts = kind{name: "whatif", within: predictWithin, answer: predict}
	proposes = kind{name: "proposal", within: proposeWithin, answer: propose}
)

// asking is a question with all that its answer takes.
type asking struct {
	Question
	model   *v1alpha1.Model
	changed *v1alpha1.Model
	demand  trace.Trace
}

func (a asking) replayed() Replayed { return Replayed{From: a.demand.Start, To: a.demand.End()} }

// gather reads the rest of what an answer takes.
func (f *Function) gather(ctx context.Context, k kind, model *v1alpha1.Model, q Question) (asking, error) {
	a := asking{Question: q, model: model.InForce()}
	if err := k.takes(q); err != nil {
		return a, refused(http.StatusBadRequest, err)
	}
	if q.Changed != nil {
		var err error
		if a.changed, err = changedBy(f.admission(ctx), a.model, q.Changed); err != nil {
			return a, refused(http.StatusUnprocessableEntity, err)
		}
	}
	came, given, err := q.given()
	switch {
	case err != nil:
		return a, refused(http.StatusBadRequest, err)
	case !given:
		within, cancel := context.WithTimeout(ctx, recordedWithin)
		came, err = f.Recorded(within, types.NamespacedName{Namespace: model.Namespace, Name: model.Name})
		cancel()
	}
	switch {
	case errors.Is(err, recorded.ErrNone):
		return a, refused(http.StatusUnprocessableEntity, fmt.Errorf("%w: give it as demand, in lines `time,requests`", err))
	case err != nil:
		return a, away(err)
	}
	if a.demand, err = q.cut(came); err != nil {
		return a, refused(http.StatusUnprocessableEntity, err)
	}
	return a, nil
}

// takes is an error for what such a question has no use for.
func (k kind) takes(q Question) error {
	switch {
	case k.name == proposes.name && q.Changed != nil:
		return fmt.Errorf("changed has no meaning to a proposal, which says what to change: leave it out, or ask %s", PredictPath)
	case k.name == predicts.name && q.Bounds != whatif.Bounds{}:
		return fmt.Errorf("bounds have a meaning to a proposal alone: leave them out, or ask %s", ProposePath)
	}
	return nil
}

// admission lets a Model be judged as the webhook does. Of what Knative allows, only how it
// scales is known here; what goes by the rest can't be changed by a question.
func (f *Function) admission(ctx context.Context) context.Context {
	ctx = config.ToContext(ctx, &config.Config{Autoscaler: f.Cluster()})
	return v1alpha1.WithNeighbours(ctx, f.Neighbours)
}

func (f *Function) question(a asking) whatif.Question {
	return whatif.Question{
		Demand: a.demand, Model: a.model, Cluster: f.Cluster(), Measured: a.Measured, Goal: a.Goal, Ready: a.Ready, Runs: a.Runs,
	}
}

func predict(ctx context.Context, f *Function, a asking) (any, error) {
	answer, err := whatif.Predict(ctx, f.question(a), a.changed)
	return Answer{answer, a.replayed()}, err
}

func propose(ctx context.Context, f *Function, a asking) (any, error) {
	proposal, err := whatif.Propose(ctx, f.question(a), a.Bounds)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong with the question
	}
	of := Proposal{Proposal: proposal, Replayed: a.replayed()}
	if why := proposal.Model.RefuseTuning(f.admission(ctx), a.model); why != nil {
		of.Refused = why.Error()
	}
	return of, nil
}

// compute has one answer computed at a time in this process, which reconciles as well. It waits
// for those before, which end.
func (f *Function) compute(ctx context.Context, k kind, a asking) (any, error) {
	select {
	case f.computing <- struct{}{}:
		defer func() { <-f.computing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	within, cancel := context.WithTimeout(ctx, k.within)
	defer cancel()
	answer, err := k.answer(within, f, a)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case within.Err() != nil:
		return nil, late(k, a)
	}
	return nil, refused(http.StatusUnprocessableEntity, err)
}

// late says what to ask instead of what takes too long.
func late(k kind, a asking) error {
	remedy := "a later from or an earlier to"
	if k.name == predicts.name {
		remedy += ", or fewer runs"
	}
	return failure{outcome: "late", status: http.StatusUnprocessableEntity, err: fmt.Errorf(
		"the answer about %d seconds of demand takes longer than %s, which is as long as one may: give %s", len(a.demand.Seconds), k.within, remedy)}
}

package model

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// trials tell which values of a Model are in force: its own, or those that it tries. The
// status has a trial's end before any of its values is: so whoever looks next, be it after
// an hour, ends it by the same time.
type trials struct {
	client      sluiceclientset.Interface
	rateLimits  sluicelisters.RateLimitLister
	pods        corev1listers.PodLister
	behind      *behind
	verifier    Verifier
	autoscaling func() *autoscalerconfig.Config
	schedule
}

// trialState is what the course of a trial is decided by.
type trialState struct {
	// spec of it; nil for none.
	spec *v1alpha1.TrialSpec
	// refusal is why it can't be; nil where it can.
	refusal *apis.FieldError
	// held tells whether the Model itself says all that is tried.
	held bool
	// before is what the Model's status, as the API server has it, says of it; nil for nothing.
	before *v1alpha1.TrialStatus
	// breach of its bounds; nil for none.
	breach *v1alpha1.RateLimitBreach
	// generation of the Model, and what was found of the trial beside it, once its time has
	// passed; nil for nothing yet.
	generation int64
	verdict    *v1alpha1.TrialVerdict
	now        time.Time
}

// trialPlan is how a trial goes on.
type trialPlan struct {
	// status that it has from now on; nil for none.
	status *v1alpha1.TrialStatus
	// inForce tells whether what is tried is in force.
	inForce bool
	// write tells whether the Model itself is to say what is tried.
	write bool
	// again is after how long to look again; 0 for not by itself.
	again time.Duration
}

// decideTrial decides how a trial goes on. Each has one hash, by which it begins once; its
// values are in force only in a pass that finds it Running in the status, before its end.
func decideTrial(s trialState) trialPlan {
	over := func(status *v1alpha1.TrialStatus) trialPlan { return trialPlan{status: status} }
	if s.spec == nil {
		return over(s.before.Release(s.now))
	}
	if !s.before.IsOf(s.spec) {
		begun := v1alpha1.BeginTrial(s.spec, s.now)
		if s.spec.Keep != "" {
			begun.Generation = s.generation
		}
		switch {
		case s.refusal != nil:
			return over(begun.End(v1alpha1.TrialReasonInvalid, sentence(s.refusal), s.now))
		case s.held:
			return over(begun.Keep(s.now))
		}
		return over(begun)
	}
	switch {
	case !s.before.Runs(s.spec):
		return over(s.before)
	case s.held:
		return over(s.before.Keep(s.now))
	case s.breach != nil:
		return over(s.before.End(s.breach.Reason, s.breach.Message, s.now))
	case !s.before.ElapsedBy(s.now):
		return trialPlan{status: s.before, inForce: true, again: s.before.EndTime.Sub(s.now)}
	case s.spec.Keep == v1alpha1.TrialKeepIfBetter && s.before.StartTime != nil && s.before.EndTime != nil:
		return decideKept(s)
	}
	return over(s.before.Elapse(s.now))
}

// plan decides how a Model's trial goes on.
func (t *trials) plan(m *v1alpha1.Model) (trialPlan, error) {
	state := trialState{spec: m.Spec.Trial, before: m.Status.Trial, generation: m.Generation, now: t.Now()}
	if state.spec == nil {
		return decideTrial(state), nil
	}
	state.refusal, state.held = m.CheckTrial(), m.HoldsTried()
	if state.before.Runs(state.spec) {
		limit, err := demandOf(m, t.rateLimits)
		if err != nil {
			return trialPlan{}, err
		}
		state.breach = limit.BreachOf(state.before.StartTime)
		if err := t.verify(m, &state); err != nil {
			return trialPlan{}, err
		}
	}
	return decideTrial(state), nil
}

// begin is a pass of a Model by what is in force of it.
func (r *Reconciler) begin(ctx context.Context, m *v1alpha1.Model) (*pass, error) {
	before := m.Status.Trial
	plan, err := r.trials.plan(m)
	if err != nil {
		return nil, fmt.Errorf("deciding on the trial: %w", err)
	}
	m.Status.Trial = plan.status
	p, err := r.withRoom(m)
	if err != nil {
		return nil, fmt.Errorf("checking the tenant's caps: %w", err)
	}
	// Bounds are watched as long as the status says that the trial runs: so a breach is there
	// to be read again where the trial's end couldn't be written.
	p.bounds = m.BoundsOf(before)
	if plan.write && m.Status.Trial.Runs(m.Spec.Trial) {
		r.trials.keep(ctx, m)
	}
	if plan.inForce && m.Status.Trial.Runs(m.Spec.Trial) {
		p.Model = m.Tried()
		r.trials.later(m, plan.again)
	}
	p.most = min(p.most, p.MaxReplicas())
	r.trials.tell(ctx, m, before)
	return p, nil
}

// withRoom begins a pass of a Model by its tenant's caps. A trial that they have no room for,
// where they have for the Model itself, is over.
func (r *Reconciler) withRoom(m *v1alpha1.Model) (*pass, error) {
	trial := m.Status.Trial
	p, err := r.caps.begin(m)
	if err != nil || p.refusal == nil || !trial.Runs(m.Spec.Trial) {
		return p, err
	}
	m.Status.Trial = trial.End(v1alpha1.TrialReasonTenantCap, sentence(p.refusal), r.trials.Now())
	if p, err = r.caps.begin(m); err != nil || p.refusal == nil {
		return p, err
	}
	m.Status.Trial = trial // is not why
	return r.caps.begin(m)
}

// tell records what has become of a trial.
func (t *trials) tell(ctx context.Context, m *v1alpha1.Model, before *v1alpha1.TrialStatus) {
	now := m.Status.Trial
	if equality.Semantic.DeepEqual(before, now) {
		return
	}
	t.behind.noteTrial(m.UID, now)
	recorder := controller.GetEventRecorder(ctx)
	switch {
	case now == nil || before != nil && before.Phase == now.Phase && before.StartTime.Equal(now.StartTime):
		// As it was, but for the hash of what is gone, or for what was found and isn't written yet.
	case now.Phase == v1alpha1.TrialRunning:
		recorder.Eventf(m, corev1.EventTypeNormal, "TrialBegan", "Trying %s for %s at most", m.Spec.Trial.Values(), m.Spec.Trial.For.Duration)
	case now.Phase == v1alpha1.TrialKept:
		recorder.Event(m, corev1.EventTypeNormal, "TrialKept", now.Message)
	case now.Reason == v1alpha1.TrialReasonElapsed || now.Reason == v1alpha1.TrialReasonTakenAway || now.Reason == v1alpha1.TrialReasonNotBetter:
		recorder.Event(m, corev1.EventTypeNormal, "TrialEnded", now.Message)
	default:
		recorder.Eventf(m, corev1.EventTypeWarning, "TrialEnded", "%s: %s", now.Reason, now.Message)
	}
}

// sentence is a refusal, on a line.
func sentence(refusal *apis.FieldError) string {
	return strings.ReplaceAll(refusal.Error(), "\n", "; ")
}

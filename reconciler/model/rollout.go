package model

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"knative.dev/pkg/controller"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	scale "sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// planRollout decides how the requests are to be split, from the Service as it is.
func (r *Reconciler) planRollout(m *v1alpha1.Model, service *servingv1.Service) (rollout.Plan, error) {
	state := rollout.State{
		Spec: m.Spec.Rollout, Targets: m.Spec.Traffic, MinReplicas: resources.MinReplicas(m), Before: m.Status.Rollout,
		Latest: resources.Newly(service), LatestReady: service.Status.LatestReadyRevisionName,
		Split: resources.Split(service), Present: resources.Present(service), Floating: resources.Floats(service),
		// What others made of the traffic isn't waited for.
		Routed:    resources.Routed(service) || service.Generation != m.Status.ServiceGeneration,
		Revisions: map[string]rollout.Revision{}, Now: r.clock.Now(),
	}
	demand, err := r.demand(m)
	if err != nil {
		return rollout.Plan{}, err
	}
	names := append(liveRevisions(service), state.LatestReady)
	names = append(names, state.Present...)
	if before := m.Status.Rollout; before != nil {
		names = append(names, before.From.Name(), before.To.Name())
	}
	for _, t := range m.Spec.Traffic {
		names = append(names, t.RevisionName)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		seen, err := r.observeRevision(m.Namespace, name)
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return rollout.Plan{}, fmt.Errorf("observing revision %q: %w", name, err)
		}
		if seen.Kept <= demand.Needed(name, state.Now) {
			seen.Kept = 0
		}
		state.Revisions[name] = withWarmUp(seen, name, m.Status.WarmUp)
	}
	return rollout.Decide(state), nil
}

func (r *Reconciler) observeRevision(namespace, name string) (rollout.Revision, error) {
	found, err := r.revisions.Revisions(namespace).Get(name)
	if err != nil {
		return rollout.Revision{}, err
	}
	seen := rollout.Revision{Ready: corev1.ConditionUnknown, Kept: resources.MinScale(found)}
	switch condition := found.Status.GetCondition(servingv1.RevisionConditionReady); {
	case found.IsReady():
		seen.Ready = corev1.ConditionTrue
	case condition.IsFalse():
		seen.Ready, seen.Why = corev1.ConditionFalse, condition.Message
	case condition != nil:
		seen.Why = condition.Message
	}
	endpoints, err := r.slices.EndpointSlices(namespace).List(scale.Endpoints(name))
	if err != nil {
		return seen, fmt.Errorf("listing its endpoints: %w", err)
	}
	seen.Warm = scale.Ready(endpoints)
	autoscaler, err := r.autoscalers.PodAutoscalers(namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return seen, nil // it is to be made
	}
	if err != nil {
		return seen, fmt.Errorf("getting its autoscaler: %w", err)
	}
	seen.Desired, seen.Max, seen.Initial = scale.Desired(autoscaler, seen.Warm), scale.Max(autoscaler), scale.FromZero(autoscaler)
	return r.withCrash(seen, namespace, name)
}

// withWarmUp adds why replicas of a revision could not be warmed up, as was seen last.
// One of which none is warm is not waited for until Knative gives it up, which takes it
// the whole progress deadline.
func withWarmUp(seen rollout.Revision, name string, w *v1alpha1.WarmUpStatus) rollout.Revision {
	if w == nil || w.Failure == nil || w.Failure.Revision != name {
		return seen
	}
	seen.Why = fmt.Sprintf("Replica %s could not be warmed up: %s", w.Failure.Pod, w.Failure.Reason)
	if w.Warm == 0 && seen.Ready == corev1.ConditionUnknown {
		seen.Ready = corev1.ConditionFalse
	}
	return seen
}

// markRollout tells of a plan that was carried out, in the status and by events.
func (r *Reconciler) markRollout(ctx context.Context, m *v1alpha1.Model, plan rollout.Plan) {
	if plan.Pending {
		m.Status.MarkRolloutPending()
		return
	}
	before := m.Status.Rollout
	m.Status.PropagateRollout(plan.Status)
	if plan.Again > 0 {
		r.later(m, plan.Again)
	}
	if before != nil && before.Phase == plan.Status.Phase && before.To.Name() == plan.Status.To.Name() {
		return
	}
	recorder, from, to := controller.GetEventRecorder(ctx), plan.Status.From.Name(), plan.Status.To.Name()
	switch plan.Status.Phase {
	case v1alpha1.RolloutFailed:
		recorder.Event(m, corev1.EventTypeWarning, "RolloutFailed", plan.Status.Message)
	case v1alpha1.RolloutUndone:
		recorder.Eventf(m, corev1.EventTypeNormal, "RolloutUndone", "Revision %q serves again instead of %q", from, to)
	case v1alpha1.RolloutProgressing:
		if from != "" {
			recorder.Eventf(m, corev1.EventTypeNormal, "RolloutProgressing", "Moving requests from revision %q to %q", from, to)
		}
	case v1alpha1.RolloutKeepingWarm, v1alpha1.RolloutComplete:
		if from != "" && (before == nil || before.Phase != v1alpha1.RolloutKeepingWarm) {
			recorder.Eventf(m, corev1.EventTypeNormal, "RolledOut", "Revision %q has taken over from %q", to, from)
		}
	}
}

package model

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"knative.dev/pkg/controller"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	scale "sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// rollouts tell how a Model's requests are to move from a revision to the newest one.
type rollouts struct {
	revisions   servinglisters.RevisionLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	slices      discoverylisters.EndpointSliceLister
	obstacles   *obstacles
	rateLimits  sluicelisters.RateLimitLister
	autoscaling func() *autoscalerconfig.Config
	schedule
}

// plan decides how the requests are to be split, from the Service as it is.
func (r *rollouts) plan(m *v1alpha1.Model, service *servingv1.Service) (rollout.Plan, error) {
	state := rollout.State{
		Spec: m.Spec.Rollout, Targets: m.Spec.Traffic, MinReplicas: resources.MinReplicas(m, r.autoscaling().MinScale), Before: m.Status.Rollout,
		Latest: resources.Newly(service), LatestReady: service.Status.LatestReadyRevisionName,
		Split: resources.Split(service), Present: resources.Present(service), Floating: resources.Floats(service),
		// What others made of the traffic isn't waited for.
		Routed:    resources.Routed(service) || service.Generation != m.Status.ServiceGeneration,
		Revisions: map[string]rollout.Revision{}, Now: r.Now(),
	}
	demand, err := demandOf(m, r.rateLimits)
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
		seen, err := r.observe(m.Namespace, name)
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return rollout.Plan{}, fmt.Errorf("observing revision %q: %w", name, err)
		}
		autoscaler, err := autoscalerOf(r.autoscalers, m.Namespace, name)
		if err != nil {
			return rollout.Plan{}, err
		}
		unnamed := resources.Unnamed(autoscaler, r.autoscaling().PodAutoscalerClass)
		before, now := m.Status.Floor(name), resources.Floor(m, name, unnamed, demand.Needed(name, state.Now), 0)
		seen.Kept, seen.Held, seen.Called = before.Rollout, before.Replicas(), now.Demand
		state.Revisions[name] = withWarmUp(withObstacle(seen, name, m.Status.Obstacle), name, m.Status.WarmUp)
	}
	return rollout.Decide(state), nil
}

func (r *rollouts) observe(namespace, name string) (rollout.Revision, error) {
	found, err := r.revisions.Revisions(namespace).Get(name)
	if err != nil {
		return rollout.Revision{}, err
	}
	seen := rollout.Revision{Ready: corev1.ConditionUnknown}
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
	autoscaler, err := autoscalerOf(r.autoscalers, namespace, name)
	if err != nil || autoscaler == nil {
		return seen, err
	}
	cluster := r.autoscaling()
	seen.Desired, seen.Max = scale.Desired(autoscaler, seen.Warm), scale.Max(autoscaler, cluster)
	seen.Initial = max(scale.Initial(autoscaler, cluster), scale.FromZero(autoscaler, cluster))
	return r.withEnds(seen, namespace, name)
}

// withEnds has a revision that isn't ready yet be one that fails, as long as a container
// of it ends again and again. Knative looks at a revision's pods when its Deployment
// changes, which a container's end is not, and then at its progress deadline.
func (r *rollouts) withEnds(seen rollout.Revision, namespace, name string) (rollout.Revision, error) {
	if seen.Ready != corev1.ConditionUnknown || seen.Warm > 0 {
		return seen, nil
	}
	found, err := r.obstacles.ends(namespace, name)
	if err != nil || found == nil {
		return seen, err
	}
	seen.Ready, seen.Why, seen.Remedy = corev1.ConditionFalse, found.Message, found.Remedy
	return seen, nil
}

// withObstacle adds what keeps a revision from being ready, which Knative may say at its
// progress deadline, or never.
func withObstacle(seen rollout.Revision, name string, o *v1alpha1.RevisionObstacle) rollout.Revision {
	if !o.Of(name) || seen.Ready == corev1.ConditionTrue {
		return seen
	}
	seen.Why, seen.Remedy = o.Message, o.Remedy
	if o.Lasts && seen.Warm == 0 {
		seen.Ready = corev1.ConditionFalse
	}
	return seen
}

// withWarmUp adds why replicas of a revision could not be warmed up, as was seen last.
// One of which none is warm is not waited for until Knative gives it up, which takes it
// the whole progress deadline.
func withWarmUp(seen rollout.Revision, name string, w *v1alpha1.WarmUpStatus) rollout.Revision {
	if w == nil || w.Failure == nil || w.Failure.Revision != name {
		return seen
	}
	seen.Why, seen.Remedy = fmt.Sprintf("Replica %s could not be warmed up: %s", w.Failure.Pod, w.Failure.Reason), ""
	if w.Warm == 0 && seen.Ready == corev1.ConditionUnknown {
		seen.Ready = corev1.ConditionFalse
	}
	return seen
}

// mark tells of a plan that was carried out, in the status and by events.
func (r *rollouts) mark(ctx context.Context, m *v1alpha1.Model, plan rollout.Plan) {
	if plan.Pending {
		m.Status.MarkRolloutPending()
		return
	}
	before := m.Status.Rollout
	m.Status.PropagateRollout(plan.Status)
	traceStep(m, before, plan.Status, r.Now())
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

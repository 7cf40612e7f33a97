package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/apis"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

const (
	// lasts is how long what keeps a revision has to be there for it to have failed: what
	// is applied together comes one after the other.
	lasts = 15 * time.Second
	// young is how old a revision is at most that is looked at every lookForMissing while
	// it isn't ready, since nothing tells of what its replicas don't say.
	young = 2 * time.Minute
)

// obstacles find what keeps revisions from being ready.
type obstacles struct {
	revisions   servinglisters.RevisionLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	pods        corev1listers.PodLister
	inquiries   *inquiries
	schedule
}

// find tells the status what keeps the newest revision from being ready. That stays as long
// as no replica shows anything else: Knative takes away those of a revision that it gives
// up, and says no more than that.
func (o *obstacles) find(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	name := resources.Newly(service)
	if name == "" {
		return nil // it can't be told which one it is
	}
	if !m.Status.Obstacle.Of(name) {
		m.Status.Obstacle = nil
	}
	revision, err := o.revisions.Revisions(m.Namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return nil // it is on its way into the cache
	}
	if err != nil {
		return fmt.Errorf("getting revision %q: %w", name, err)
	}
	if revision.IsReady() {
		m.Status.Obstacle = nil
		return nil
	}
	seen, err := o.seen(revision.Namespace, name)
	if err != nil {
		return err
	}
	autoscaler, err := autoscalerOf(o.autoscalers, revision.Namespace, name)
	if err != nil {
		return err
	}
	seen.Refusal, seen.Unscaled = refusal(revision), autoscaler == nil
	found := obstacle.Of(seen, o.Now())
	if found == nil || found.Vague() {
		seen.Asked = o.inquiries.about(ctx, revision, seen.Pods)
		found = obstacle.Of(seen, o.Now())
	}
	living := slices.ContainsFunc(seen.Pods, obstacle.Lives)
	if found != nil || living {
		m.Status.Obstacle = o.row(name, found, m.Status.Obstacle)
	}
	switch failed := revision.Status.GetCondition(servingv1.RevisionConditionReady).IsFalse(); {
	case failed && !living: // its conditions tell of what comes next
	case o.Since(revision.CreationTimestamp.Time) < young:
		o.later(m, lookForMissing)
	default:
		o.later(m, lookAgain)
	}
	return nil
}

// row is what was found, since it was found first; nil for nothing.
func (o *obstacles) row(revision string, found *obstacle.Obstacle, before *v1alpha1.RevisionObstacle) *v1alpha1.RevisionObstacle {
	if found == nil {
		return nil
	}
	row := &v1alpha1.RevisionObstacle{
		RevisionName: revision, Reason: found.Reason, Message: found.Message, Remedy: found.Remedy,
		PodName: found.Pod, ContainerName: found.Container, ExitCode: found.ExitCode, Since: metav1.NewTime(o.Now().Truncate(time.Second)),
	}
	if before != nil && before.Reason == row.Reason {
		row.Since = before.Since
	}
	// One that has ended again and again has taken its time.
	row.Lasts = !found.MayPass && (found.ExitCode != nil || o.Since(row.Since.Time) >= lasts)
	return row
}

// seen is what replicas of a revision show.
func (o *obstacles) seen(namespace, revision string) (obstacle.Seen, error) {
	pods, err := o.pods.Pods(namespace).List(labels.SelectorFromSet(labels.Set{servingapi.RevisionLabelKey: revision}))
	if err != nil {
		return obstacle.Seen{}, fmt.Errorf("listing the replicas of revision %q: %w", revision, err)
	}
	return obstacle.Seen{Pods: pods}, nil
}

// ends tells whether replicas of a revision end again and again, of which Knative says so
// only at its progress deadline; nil if none does.
func (o *obstacles) ends(namespace, revision string) (*obstacle.Obstacle, error) {
	seen, err := o.seen(namespace, revision)
	if err != nil {
		return nil, err
	}
	if found := obstacle.Of(seen, o.Now()); found != nil && found.ExitCode != nil && !found.MayPass {
		return found, nil
	}
	return nil, nil //nolint:nilnil // none is no error
}

// refusal is why Knative, or a ReplicaSet, makes no replicas of a revision.
func refusal(revision *servingv1.Revision) obstacle.Refusal {
	for _, kind := range []apis.ConditionType{servingv1.RevisionConditionContainerHealthy, servingv1.RevisionConditionResourcesAvailable} {
		c := revision.Status.GetCondition(kind)
		refusal := obstacle.Refusal{Reason: c.GetReason(), Message: c.GetMessage()}
		if c.IsFalse() && obstacle.OfRefusal(refusal) != nil {
			return refusal
		}
	}
	return obstacle.Refusal{}
}

// troubled tells whether a pod shows itself what keeps it from being ready.
func troubled(pod *corev1.Pod) bool {
	return obstacle.OfPod(pod, time.Time{}) != nil || pod.Status.Phase == corev1.PodFailed
}

package model

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/controller"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// tuning makes the live revisions scale as the Model says, without making a new one, and
// holds them at what the demand and the rollout call for. Knative hands their autoscaling
// annotations on at once.
type tuning struct {
	client      servingclientset.Interface
	revisions   servinglisters.RevisionLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	rateLimits  sluicelisters.RateLimitLister
	uptake      *uptake
	// autoscaling is how Knative's autoscaler is configured.
	autoscaling func() *autoscalerconfig.Config
	schedule
}

func (t *tuning) reconcile(ctx context.Context, p *pass) error {
	demand, err := demandOf(p.Model, t.rateLimits)
	if err != nil {
		return err
	}
	now := t.Now()
	if until := demand.NeededUntil; until != nil && now.Before(until.Time) {
		t.later(p.Model, until.Sub(now))
	}
	// One that isn't in the cache yet brings us back here by its arrival.
	revisions, err := t.revisions.Revisions(p.Namespace).List(labels.SelectorFromSet(labels.Set{servingapi.ServiceLabelKey: p.Name}))
	if err != nil {
		return fmt.Errorf("listing revisions: %w", err)
	}
	cluster := t.autoscaling()
	p.least = resources.MinReplicas(p.Model, cluster.MinScale)
	live := liveRevisions(p.service)
	var floors []v1alpha1.RevisionFloor
	var errs []error
	for _, revision := range slices.SortedFunc(slices.Values(revisions), byName) {
		autoscaler, err := autoscalerOf(t.autoscalers, revision.Namespace, revision.Name)
		if err != nil {
			return err
		}
		scaled := resources.Scaled{Revision: revision, Unnamed: resources.Unnamed(autoscaler, cluster.PodAutoscalerClass)}
		if revision.Name == p.newest() {
			p.Status.NextRevision = p.AwaitsRevision(revision.Annotations, scaled.Unnamed)
		}
		tuned := tune(p, scaled, slices.Contains(live, revision.Name), demand.Needed(revision.Name, now))
		switch err := t.patch(ctx, p.Model, revision, tuned.changes); {
		case err != nil:
			tuned.floor = p.Status.Floor(revision.Name)
			errs = append(errs, err)
		case tuned.beyond:
			controller.GetEventRecorder(ctx).Eventf(p.Model, corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", revision.Name)
		case len(tuned.changes) == 0 && slices.Contains(live, revision.Name):
			t.uptake.check(ctx, p.Model, revision, autoscaler)
		}
		if tuned.floor.Replicas() > 0 {
			floors = append(floors, tuned.floor)
		}
	}
	p.Status.Floors = floors
	return errors.Join(errs...)
}

// newest is the revision that was made last; "" while that can't be told.
func (p *pass) newest() string {
	if p.plan.Pending {
		return ""
	}
	return p.service.Status.LatestCreatedRevisionName
}

// autoscalerOf is a revision's PodAutoscaler; nil while it is to be made.
func autoscalerOf(lister autoscalinglisters.PodAutoscalerLister, namespace, revision string) (*autoscalingv1alpha1.PodAutoscaler, error) {
	autoscaler, err := lister.PodAutoscalers(namespace).Get(revision)
	if apierrs.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, fmt.Errorf("getting the autoscaler of revision %q: %w", revision, err)
	}
	return autoscaler, nil
}

func byName(a, b *servingv1.Revision) int { return cmp.Compare(a.Name, b.Name) }

// tuned is a revision as it is to be from now on.
type tuned struct {
	// floor that it is held at.
	floor v1alpha1.RevisionFloor
	// changes of its annotations.
	changes map[string]*string
	// beyond is true if they are not its floor's alone.
	beyond bool
}

// tune decides how a revision is to be, of which the demand calls for some replicas. While
// it can't be told which revision is the newest, what the rollout keeps stands, and
// nothing else is changed, but that what was tried goes back; nor is it where the Model is
// held back.
func tune(p *pass, revision resources.Scaled, live bool, needed int32) tuned {
	before, kept := p.Status.Floor(revision.Name), p.plan.Floors[revision.Name]
	back := live && p.refusal == nil && p.Status.Trial != nil && !p.Status.Trial.Runs(p.Spec.Trial)
	change := resources.AutoscalingPatch
	if p.refusal != nil {
		change = resources.FloorPatch
	}
	if p.plan.Pending {
		kept = before.Rollout
	}
	floor := resources.Floor(p.Model, revision.Name, revision.Unnamed, needed, kept)
	switch {
	case p.plan.Pending && !back && floor == before:
		return tuned{floor: floor}
	case p.plan.Pending && !back:
		return tuned{floor: floor, changes: resources.FloorPatch(p.Model, revision, p.held(floor))}
	case live || kept > 0:
		bounded := func(floor int32) map[string]*string {
			return resources.Bounded(change(p.Model, revision, floor), revision.Revision, p.most)
		}
		return tuned{floor: floor, changes: bounded(p.held(floor)), beyond: len(bounded(p.held(before))) > 0}
	}
	return tuned{changes: resources.ReleasePatch(p.Model, revision)}
}

// held is a floor to write: none for what is kept anyway. The cluster's minimum holds
// only for a revision that has none, so a lower floor would take its place.
func (p *pass) held(floor v1alpha1.RevisionFloor) int32 {
	if n := floor.Replicas(); n > p.least {
		return n
	}
	return 0
}

func (t *tuning) patch(ctx context.Context, m *v1alpha1.Model, revision *servingv1.Revision, changes map[string]*string) error {
	if len(changes) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": changes}})
	if err == nil {
		_, err = t.client.ServingV1().Revisions(revision.Namespace).Patch(
			ctx, revision.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil && !apierrs.IsNotFound(err) { // else it was collected
		m.MarkNotTuned(revision.Name, err)
		return fmt.Errorf("changing the autoscaling of revision %q: %w", revision.Name, err)
	}
	return nil
}

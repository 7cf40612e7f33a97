package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	modelreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// Reconciler makes the cluster what a Model says. It deletes nothing: all it
// creates has the Model as its owner.
type Reconciler struct {
	sluiceClient  sluiceclientset.Interface
	servingClient servingclientset.Interface
	kube          kubernetes.Interface
	sender        Sender

	services    servinglisters.ServiceLister
	revisions   servinglisters.RevisionLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	slices      discoverylisters.EndpointSliceLister
	rateLimits  sluicelisters.RateLimitLister
	models      sluicelisters.ModelLister
	// tenants are indexed by tenancy.Index.
	tenants cache.Indexer
	// pods are the Models' replicas.
	pods corev1listers.PodLister

	warmth *warmth
	// warmUpImage is that of the container that warms replicas of new revisions up.
	warmUpImage string
	// probing tells whether Knative probes more than one container of a pod.
	probing func() bool

	clock clock.PassiveClock
	// later brings a Model back after a while.
	later func(m any, after time.Duration)
}

var _ modelreconciler.Interface = (*Reconciler)(nil)

// ReconcileKind implements modelreconciler.Interface: the Knative Service with the
// split of its requests, whose status becomes RevisionReady, RolledOut and Routed; the
// autoscaling of its live revisions, also RevisionReady; its replicas' warm-up, which
// becomes Warm; the RateLimit, whose status becomes Limited. What the tenant's caps have
// no room for is held back.
func (r *Reconciler) ReconcileKind(ctx context.Context, m *v1alpha1.Model) reconciler.Event {
	ctx, cancel := context.WithTimeout(ctx, reconciler.DefaultTimeout)
	defer cancel()

	tenant, err := tenancy.Of(r.tenants, m.Namespace)
	if err != nil {
		return err
	}
	refusal, err := r.refuseGrowth(m, tenant)
	if err != nil {
		return fmt.Errorf("checking the tenant's caps: %w", err)
	}
	if refusal != nil {
		return r.holdBack(ctx, m, tenant, refusal)
	}
	service, plan, err := r.reconcileService(ctx, m, tenant)
	if err != nil {
		return fmt.Errorf("reconciling the Knative Service: %w", err)
	}
	if service == nil {
		return nil
	}
	// A limit must not wait for a revision that can't be tuned, nor the reverse.
	return errors.Join(
		r.reconcileTuning(ctx, m, service, plan),
		r.reconcileWarmUp(ctx, m, service),
		r.reconcileRateLimit(ctx, m, tenant, service),
	)
}

// reconcileService keeps the Model's Knative Service and marks RevisionReady,
// RolledOut and Routed. There is none yet, and no error, where its warm-up lacks
// something.
func (r *Reconciler) reconcileService(ctx context.Context, m *v1alpha1.Model, tenant *v1alpha1.Tenant) (*servingv1.Service, rollout.Plan, error) {
	plan := rollout.Plan{Pending: true}
	existing, err := r.ownService(m)
	if err != nil {
		return nil, plan, err
	}
	if existing != nil {
		if plan, err = r.planRollout(m, existing); err != nil {
			return nil, plan, fmt.Errorf("planning the rollout: %w", err)
		}
	}
	desired, err := r.desiredService(ctx, m, tenant, existing, &plan)
	var lack *lackError
	if errors.As(err, &lack) {
		r.later(m, lookForMissing)
		if existing == nil {
			m.Status.MarkNothingWithoutWarmUp(lack.reason, lack.message)
			return nil, plan, nil
		}
		desired, err = goOn(m, tenant, existing, plan), nil
	}
	if err != nil {
		return nil, plan, fmt.Errorf("settling the warm-up: %w", err)
	}
	service, err := r.writeService(ctx, m, existing, desired)
	if err != nil {
		m.Status.MarkServiceNotWritten(m.Name, err)
		return nil, plan, err
	}
	m.Status.ServiceGeneration = service.Generation
	m.Status.PropagateService(service)
	m.Status.PropagateTenant(tenant)
	r.markRollout(ctx, m, plan)
	if lack != nil {
		m.Status.MarkWarmUpLacking(lack.reason, lack.message)
	}
	return service, plan, nil
}

// ownService is the Model's Knative Service; nil where there is none yet.
func (r *Reconciler) ownService(m *v1alpha1.Model) (*servingv1.Service, error) {
	existing, err := r.services.Services(m.Namespace).Get(m.Name)
	switch {
	case apierrs.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("getting %q: %w", m.Name, err)
	case !metav1.IsControlledBy(existing, m):
		m.Status.MarkServiceNotOwned(m.Name)
		// Its change or removal will bring us back here; trying again would not.
		return nil, controller.NewPermanentError(fmt.Errorf("%q is not owned by the Model", m.Name))
	}
	return existing, nil
}

func (r *Reconciler) writeService(ctx context.Context, m *v1alpha1.Model, existing, desired *servingv1.Service) (*servingv1.Service, error) {
	if existing == nil {
		return r.createService(ctx, m, desired)
	}
	service, err := r.updateService(ctx, existing, desired)
	if err != nil || resources.WarmUpPinsOf(existing) == resources.WarmUpPinsOf(desired) {
		return service, err
	}
	return service, r.sweepBodies(ctx, m, service)
}

func (r *Reconciler) createService(ctx context.Context, m *v1alpha1.Model, desired *servingv1.Service) (*servingv1.Service, error) {
	service, err := r.servingClient.ServingV1().Services(m.Namespace).Create(ctx, desired, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating %q: %w", m.Name, err)
	}
	controller.GetEventRecorder(ctx).Eventf(m, corev1.EventTypeNormal, "Created", "Created Knative Service %q", m.Name)
	return service, nil
}

func (r *Reconciler) updateService(ctx context.Context, existing, desired *servingv1.Service) (*servingv1.Service, error) {
	if equality.Semantic.DeepEqual(existing, desired) {
		return existing, nil
	}
	service, err := r.servingClient.ServingV1().Services(desired.Namespace).Update(ctx, desired, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating %q: %w", desired.Name, err)
	}
	return service, nil
}

// desiredService decides how much of the existing Service to write anew. Its
// template holds what Knative defaulted, which only Knative knows; so it is not
// compared with what the Model asks for. It is rebuilt when the hash of the Model
// it was built from is another, restored when its generation, which counts every
// change of its spec, is not the one that we wrote last, and else left as it is.
// Its traffic is what is planned. Where a new revision may come of it, the traffic stays
// where it is, and the rollout is to be planned anew.
func (r *Reconciler) desiredService(ctx context.Context, m *v1alpha1.Model, tenant *v1alpha1.Tenant, existing *servingv1.Service, plan *rollout.Plan) (*servingv1.Service, error) {
	if existing == nil {
		return r.rebuild(ctx, m, tenant, resources.EmptyService(m))
	}
	if !resources.BuiltFrom(m, existing) {
		rebuilt, err := r.rebuild(ctx, m, tenant, existing)
		if err != nil {
			return nil, err
		}
		resources.StartWith(rebuilt, plan.FirstStep)
		plan.Pending = true
		return rebuilt, nil
	}
	if existing.Generation != m.Status.ServiceGeneration {
		existing = resources.RestoreService(m, tenant, existing)
		plan.Pending = true
	}
	return goOn(m, tenant, existing, *plan), nil
}

// goOn is the existing Service with the requests split as planned, and no new revision.
func goOn(m *v1alpha1.Model, tenant *v1alpha1.Tenant, existing *servingv1.Service, plan rollout.Plan) *servingv1.Service {
	out := resources.LabelService(m, tenant, existing)
	if plan.Targets != nil {
		out.Spec.Traffic = plan.Targets
	}
	return out
}

// reconcileTuning makes the live revisions scale as the Model says, without making
// a new one. Knative hands their autoscaling annotations on at once.
func (r *Reconciler) reconcileTuning(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service, plan rollout.Plan) error {
	if plan.Pending {
		return nil // what replicas are kept can't be told
	}
	demand, err := r.demand(m)
	if err != nil {
		return err
	}
	if until := demand.NeededUntil; until != nil && r.clock.Now().Before(until.Time) {
		r.later(m, until.Sub(r.clock.Now()))
	}
	live := append(liveRevisions(service), slices.Collect(maps.Keys(plan.Floors))...)
	slices.Sort(live)
	for _, name := range slices.Compact(live) {
		revision, err := r.revisions.Revisions(m.Namespace).Get(name)
		if apierrs.IsNotFound(err) {
			// Collected, or not in the cache yet, in which case its arrival
			// brings us back here.
			continue
		}
		if err == nil {
			needed := demand.Needed(name, r.clock.Now())
			err = r.tune(ctx, m, revision, floor{replicas: resources.Floor(m, needed, plan.Floors[name]), held: plan.Holding})
		}
		if err != nil {
			m.Status.MarkNotTuned(name, err)
			return fmt.Errorf("changing the autoscaling of revision %q: %w", name, err)
		}
	}
	return nil
}

// demand tells the replicas that the demand calls for, as the limiter sees it. They
// are needed for a while only.
func (r *Reconciler) demand(m *v1alpha1.Model) (*v1alpha1.RateLimitStatus, error) {
	limit, err := r.rateLimits.RateLimits(m.Namespace).Get(m.Name)
	if apierrs.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(limit, m)) {
		return &v1alpha1.RateLimitStatus{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting RateLimit %q: %w", m.Name, err)
	}
	return &limit.Status, nil
}

// liveRevisions are those that a Service's routes name, and the newest one, which
// they may not name yet; in order, each once.
func liveRevisions(service *servingv1.Service) []string {
	names := []string{service.Status.LatestCreatedRevisionName}
	for _, target := range service.Status.Traffic {
		names = append(names, target.RevisionName)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// floor is the least number of replicas of a revision, for now.
type floor struct {
	replicas int32
	// held is true if the rollout has a say in it, or had until now.
	held bool
}

func (r *Reconciler) tune(ctx context.Context, m *v1alpha1.Model, revision *servingv1.Revision, floor floor) error {
	changes := resources.AutoscalingPatch(m, revision, floor.replicas)
	if len(changes) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": changes}})
	if err != nil {
		return fmt.Errorf("encoding the patch: %w", err)
	}
	if _, err := r.servingClient.ServingV1().Revisions(revision.Namespace).Patch(
		ctx, revision.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	if _, ok := changes[autoscaling.MinScaleAnnotationKey]; ok && len(changes) == 1 && (floor.held || floor.replicas > 0 || hadFloor(m, revision.Name)) {
		return nil // a floor comes and goes; nobody tuned anything
	}
	controller.GetEventRecorder(ctx).Eventf(m, corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", revision.Name)
	return nil
}

func hadFloor(m *v1alpha1.Model, revision string) bool {
	return slices.ContainsFunc(m.Status.Revisions, func(r v1alpha1.RevisionCapacity) bool { return r.Name == revision && r.Needed > 0 })
}

// reconcileRateLimit tells the limiter what the Model can serve, how its requests
// are split and where they arrive, and marks Limited.
func (r *Reconciler) reconcileRateLimit(ctx context.Context, m *v1alpha1.Model, tenant *v1alpha1.Tenant, service *servingv1.Service) error {
	if m.Spec.Limit.RequestsPerSecondPerReplica == nil {
		m.Status.MarkRateMissing()
		return nil
	}
	existing, err := r.rateLimits.RateLimits(m.Namespace).Get(m.Name)
	var limit *v1alpha1.RateLimit
	switch {
	case apierrs.IsNotFound(err):
		limit, err = r.sluiceClient.SluiceV1alpha1().RateLimits(m.Namespace).Create(
			ctx, resources.RateLimit(m, tenant, service), metav1.CreateOptions{})
	case err != nil:
		return fmt.Errorf("getting RateLimit %q: %w", m.Name, err)
	case !metav1.IsControlledBy(existing, m):
		m.Status.MarkRateLimitNotOwned(m.Name)
		return controller.NewPermanentError(fmt.Errorf("RateLimit %q is not owned by the Model", m.Name))
	default:
		limit, err = r.updateRateLimit(ctx, existing, resources.RefreshRateLimit(m, tenant, service, existing))
	}
	if err != nil {
		m.Status.MarkRateLimitNotWritten(m.Name, err)
		return fmt.Errorf("writing RateLimit %q: %w", m.Name, err)
	}
	m.Status.PropagateRateLimit(limit)
	return nil
}

func (r *Reconciler) updateRateLimit(ctx context.Context, existing, desired *v1alpha1.RateLimit) (*v1alpha1.RateLimit, error) {
	if equality.Semantic.DeepEqual(existing, desired) {
		return existing, nil
	}
	return r.sluiceClient.SluiceV1alpha1().RateLimits(desired.Namespace).Update(ctx, desired, metav1.UpdateOptions{})
}

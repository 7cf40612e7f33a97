package model

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	modelreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// Reconciler makes the cluster what a Model says, by its steps, and keeps how it was tuned. It
// deletes nothing that isn't a copy of its own, or a state of that history: all it creates has
// the Model as its owner.
type Reconciler struct {
	behind  *behind
	trials  *trials
	caps    *caps
	steps   []step
	history *history
}

var _ modelreconciler.Interface = (*Reconciler)(nil)

// A step keeps one thing of a Model, and marks what it saw of it.
type step interface {
	reconcile(ctx context.Context, p *pass) error
}

// pass is one look at a Model: what its steps go by, and what the first finds for the
// others.
type pass struct {
	// Model is as it is in force: a copy, with what it tries, while a trial runs.
	*v1alpha1.Model
	// bounds are what the limiter is to watch of a trial; nil for nothing.
	bounds *v1alpha1.RateLimitBounds
	// tenant holds its namespace; nil for none.
	tenant *v1alpha1.Tenant
	// refusal is why the tenant's caps have no room for what the Model asks for; nil where
	// they have.
	refusal *apis.FieldError
	// most is how many replicas each of its revisions may have.
	most int64
	// least is how many replicas are kept of each that is routed to.
	least int32
	// service is its Knative Service as it is now; nil where there is none.
	service *servingv1.Service
	// plan is how its rollout goes on.
	plan rollout.Plan
}

// cluster is what the steps see of it, and change it by.
type cluster struct {
	sluice  sluiceclientset.Interface
	serving servingclientset.Interface
	kube    kubernetes.Interface

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
	// states are the Models' history.
	states appsv1listers.ControllerRevisionLister
	// autoscaling is how Knative's autoscaler is configured.
	autoscaling func() *autoscalerconfig.Config
}

// warming is how replicas are warmed up, and who is told.
type warming struct {
	// image is that of the container that warms replicas of new revisions up.
	image string
	// probing tells whether Knative probes more than one container of a pod.
	probing func() bool
	// startsWithin tells how long Knative lets revisions take to start.
	startsWithin func() time.Duration
	// resources are what that container has where a Model doesn't say otherwise.
	resources func() corev1.ResourceRequirements
	warmth    *warmth
	sender    Sender
}

// schedule is the time, and what brings a Model back after a while.
type schedule struct {
	clock.PassiveClock
	later func(m any, after time.Duration)
}

func newReconciler(c cluster, w warming, v Verifier, t *tellings, s schedule) *Reconciler {
	asked := newInquiries(c.kube, s)
	found := &obstacles{revisions: c.revisions, autoscalers: c.autoscalers, pods: c.pods, inquiries: asked, schedule: s}
	bodies := &bodyCopies{kube: c.kube, revisions: c.revisions, clock: s}
	late := newBehind(c.sluice, s)
	return &Reconciler{
		behind: late,
		trials: &trials{
			client: c.sluice, rateLimits: c.rateLimits, pods: c.pods, behind: late, verifier: v, autoscaling: c.autoscaling, schedule: s,
		},
		caps: &caps{services: c.services, revisions: c.revisions, models: c.models, tenants: c.tenants},
		steps: []step{
			&services{
				client: c.serving, lister: c.services, obstacles: found, behind: late, later: s.later,
				rollouts: &rollouts{
					revisions: c.revisions, autoscalers: c.autoscalers, slices: c.slices, obstacles: found, rateLimits: c.rateLimits,
					autoscaling: c.autoscaling, schedule: s,
				},
				pins: &pins{image: w.image, probing: w.probing, startsWithin: w.startsWithin, resources: w.resources, bodies: bodies},
			},
			&tuning{
				client: c.serving, revisions: c.revisions, autoscalers: c.autoscalers, rateLimits: c.rateLimits,
				uptake: &uptake{inquiries: asked, schedule: s}, autoscaling: c.autoscaling, schedule: s,
			},
			&warmUps{pods: c.pods, warming: w, bodies: bodies, schedule: s},
			&limits{client: c.sluice, rateLimits: c.rateLimits},
		},
		history: &history{client: c.kube.AppsV1(), states: c.states, written: newWrittenStates(s), tellings: t, schedule: s},
	}
}

// ReconcileKind implements modelreconciler.Interface: what is in force of the Model, its own
// or what it tries; the Knative Service with the split of its requests, whose status becomes
// RevisionReady, RolledOut and Routed; the autoscaling of its live revisions, also
// RevisionReady; its replicas' warm-up, which becomes Warm; the RateLimit, whose status
// becomes Limited. What the tenant's caps have no room for is held back, and what there is
// of the Model goes on. How the Model itself says that it is tuned becomes its history,
// whatever becomes of that.
func (r *Reconciler) ReconcileKind(ctx context.Context, m *v1alpha1.Model) reconciler.Event {
	ctx, cancel := context.WithTimeout(ctx, reconciler.DefaultTimeout)
	defer cancel()

	if err := r.behind.catchUp(ctx, m); err != nil {
		return err
	}
	before := m.Status.GetCondition(v1alpha1.ModelConditionReady).DeepCopy()
	defer func() { m.Status.SettleReady(before) }()
	p, err := r.begin(ctx, m)
	if err != nil {
		return err
	}
	err = r.walk(ctx, p)
	m.Status = p.Status
	return errors.Join(err, r.history.reconcile(ctx, m, p.tenant))
}

// walk takes the steps of a pass.
func (r *Reconciler) walk(ctx context.Context, p *pass) error {
	var errs []error
	for _, step := range r.steps {
		// None waits for another: a limit not for a revision that can't be tuned, and what
		// serves not for a change that Knative refuses.
		errs = append(errs, step.reconcile(ctx, p))
		if p.service == nil {
			return errors.Join(errs...)
		}
	}
	if p.refusal != nil {
		p.Status.MarkHeldBack(p.refusal)
	}
	return errors.Join(errs...)
}

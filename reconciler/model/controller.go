package model

import (
	"context"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	sliceinformer "knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice/filtered"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	autoscalerinformer "knative.dev/serving/pkg/client/injection/informers/autoscaling/v1alpha1/podautoscaler/filtered"
	revisioninformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	ratelimitinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	modelreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Options are what the process says.
type Options struct {
	// ServingNamespace is where Knative Serving keeps what it allows.
	ServingNamespace string
	// WarmUpImage is that of the container that warms replicas of new revisions up.
	WarmUpImage string
}

// NewController returns what watches Models and all that they are made of.
func NewController(options Options) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl { return newController(ctx, options) }
}

func newController(ctx context.Context, options Options) *controller.Impl {
	models := modelinformer.Get(ctx)
	services := serviceinformer.Get(ctx)
	revisions := revisioninformer.Get(ctx)
	autoscalers := autoscalerinformer.Get(ctx, sluice.ModelLabelKey)
	slices := sliceinformer.Get(ctx, sluice.ModelLabelKey)
	rateLimits := ratelimitinformer.Get(ctx)
	tenants := tenantinformer.Get(ctx)
	if err := tenancy.Index(tenants.Informer().GetIndexer()); err != nil {
		logging.FromContext(ctx).Fatalw("Error preparing the cache of Tenants", zap.Error(err))
	}

	brokers := broker.Get(ctx).Lister().Brokers(sluice.SystemNamespace)
	sender, err := eventing.NewSender(eventing.BrokerAddress(brokers.Get))
	if err != nil {
		logging.FromContext(ctx).Fatalw("Error setting up the event sender", zap.Error(err))
	}
	own := newParts(kubeclient.Get(ctx), options.ServingNamespace)

	r := &Reconciler{
		kube:          kubeclient.Get(ctx),
		sender:        sender,
		pods:          own.replicas.Core().V1().Pods().Lister(),
		probing:       probes(own.features.Core().V1().ConfigMaps().Lister().ConfigMaps(options.ServingNamespace)),
		warmUpImage:   options.WarmUpImage,
		sluiceClient:  sluiceclient.Get(ctx),
		servingClient: servingclient.Get(ctx),
		services:      services.Lister(),
		revisions:     revisions.Lister(),
		autoscalers:   autoscalers.Lister(),
		slices:        slices.Lister(),
		rateLimits:    rateLimits.Lister(),
		models:        models.Lister(),
		tenants:       tenants.Informer().GetIndexer(),
		clock:         clock.RealClock{},
	}
	impl := modelreconciler.NewImpl(ctx, r)
	r.later = impl.EnqueueAfter
	r.warmth = newWarmth(impl.EnqueueKey, clock.RealClock{})

	watchAll(ctx, r, impl)
	own.watch(impl, models.Informer())
	if err := controller.StartInformers(ctx.Done(), own.all()...); err != nil {
		logging.FromContext(ctx).Fatalw("Error starting the Models' informers", zap.Error(err))
	}
	return impl
}

// watchAll has each change enqueue the Models that it concerns.
func watchAll(ctx context.Context, r *Reconciler, impl *controller.Impl) {
	models, revisions := modelinformer.Get(ctx), revisioninformer.Get(ctx).Informer()
	watch(models.Informer(), controller.HandleAll(impl.Enqueue))
	watch(models.Informer(), r.whenRoomIsLeft(impl.Enqueue))
	watch(revisions, r.whenRoomIsLeft(impl.Enqueue))
	watch(tenantinformer.Get(ctx).Informer(), r.whenTenantChanges(impl.Enqueue))
	// What a Model owns bears its name, and so does what stands in its way: that
	// going away has to be noticed as well, so these are filtered by name and not
	// by owner.
	isNamesake := namesakeOfModel(models.Lister())
	watch(serviceinformer.Get(ctx).Informer(), cache.FilteringResourceEventHandler{FilterFunc: isNamesake, Handler: controller.HandleAll(impl.Enqueue)})
	watch(ratelimitinformer.Get(ctx).Informer(), cache.FilteringResourceEventHandler{FilterFunc: isNamesake, Handler: r.whenLimitChanges(impl.EnqueueKeyAfter)})
	replicas := r.whenReplicasChange(impl.EnqueueKeyAfter)
	watch(revisions, cache.FilteringResourceEventHandler{FilterFunc: reconciler.LabelExistsFilterFunc(sluice.ModelLabelKey), Handler: replicas})
	watch(autoscalerinformer.Get(ctx, sluice.ModelLabelKey).Informer(), replicas)
	watch(sliceinformer.Get(ctx, sluice.ModelLabelKey).Informer(), replicas)
}

// watch adds a handler to an informer that has not been started yet, which can't
// fail.
func watch(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	_, _ = informer.AddEventHandler(handler)
}

func namesakeOfModel(models sluicelisters.ModelLister) func(any) bool {
	return func(obj any) bool {
		object, err := kmeta.DeletionHandlingAccessor(obj)
		if err != nil {
			return false
		}
		_, err = models.Models(object.GetNamespace()).Get(object.GetName())
		return err == nil
	}
}

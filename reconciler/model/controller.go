package model

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	sliceinformer "knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice"
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
	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	ratelimitinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	modelreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/recording"
)

// Options are what the process says.
type Options struct {
	// ServingNamespace is where Knative Serving keeps what it allows.
	ServingNamespace string
	// WarmUpImage is that of the container that warms replicas of new revisions up.
	WarmUpImage string
	// Scaling is of the ConfigMap there that says how Knative scales what doesn't say so itself.
	// It is started here.
	Scaling corev1informers.ConfigMapInformer
	// Verifier returns what judges trials, until the context ends, and has changed told of the
	// Model of whose trial it found something.
	Verifier func(ctx context.Context, changed func(types.NamespacedName)) Verifier
}

// NewController returns what watches Models and all that they are made of.
func NewController(options Options) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		store := config.NewWarmUpStore(logging.FromContext(ctx).Named("config-store"))
		store.WatchConfigs(cmw)
		return newController(ctx, store.Resources, options)
	}
}

func newController(ctx context.Context, warmUpResources func() corev1.ResourceRequirements, options Options) *controller.Impl {
	models := modelinformer.Get(ctx)
	services := serviceinformer.Get(ctx)
	revisions := revisioninformer.Get(ctx)
	autoscalers := autoscalerinformer.Get(ctx, sluice.ModelLabelKey)
	slices := sliceinformer.Get(ctx)
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
	own := newParts(kubeclient.Get(ctx), options)

	var impl *controller.Impl
	now := schedule{PassiveClock: clock.RealClock{}, later: func(m any, after time.Duration) { impl.EnqueueAfter(m, after) }}
	r := newReconciler(cluster{
		sluice: sluiceclient.Get(ctx), serving: servingclient.Get(ctx), kube: kubeclient.Get(ctx),
		services: services.Lister(), revisions: revisions.Lister(), autoscalers: autoscalers.Lister(), slices: slices.Lister(),
		rateLimits: rateLimits.Lister(), models: models.Lister(), tenants: tenants.Informer().GetIndexer(),
		pods:        own.replicas.Lister(),
		states:      own.states.Lister(),
		autoscaling: scalingBy(own.scaling.Lister().ConfigMaps(options.ServingNamespace)),
	}, warming{
		image:        options.WarmUpImage,
		probing:      probes(own.features.Lister().ConfigMaps(options.ServingNamespace)),
		startsWithin: startsWithin(own.deployment.Lister().ConfigMaps(options.ServingNamespace)),
		resources:    warmUpResources,
		warmth:       newWarmth(func(model types.NamespacedName) { impl.EnqueueKey(model) }, now),
		sender:       sender,
	}, options.Verifier(ctx, func(model types.NamespacedName) { impl.EnqueueKey(model) }), newTellings(sender, func(model types.NamespacedName) { impl.EnqueueKey(model) }, now), now)
	impl = modelreconciler.NewImpl(recording.WithRecorder(ctx, "model-controller"), r)

	watchAll(ctx, &wake{models: models.Lister(), caps: r.caps}, impl)
	own.watch(impl, models.Informer())
	if err := controller.StartInformers(ctx.Done(), own.all()...); err != nil {
		logging.FromContext(ctx).Fatalw("Error starting the Models' informers", zap.Error(err))
	}
	return impl
}

// watchAll has each change enqueue the Models that it concerns.
func watchAll(ctx context.Context, w *wake, impl *controller.Impl) {
	models, revisions := modelinformer.Get(ctx), revisioninformer.Get(ctx).Informer()
	watch(models.Informer(), controller.HandleAll(impl.Enqueue))
	watch(models.Informer(), w.whenRoomIsLeft(impl.Enqueue))
	watch(revisions, w.whenRoomIsLeft(impl.Enqueue))
	watch(tenantinformer.Get(ctx).Informer(), w.whenTenantChanges(impl.Enqueue))
	// What a Model owns bears its name, and so does what stands in its way: that
	// going away has to be noticed as well, so these are filtered by name and not
	// by owner.
	isNamesake := namesakeOfModel(models.Lister())
	watch(serviceinformer.Get(ctx).Informer(), cache.FilteringResourceEventHandler{FilterFunc: isNamesake, Handler: controller.HandleAll(impl.Enqueue)})
	watch(ratelimitinformer.Get(ctx).Informer(), cache.FilteringResourceEventHandler{FilterFunc: isNamesake, Handler: w.whenLimitChanges(impl.EnqueueKeyAfter)})
	replicas := w.whenReplicasChange(impl.EnqueueKeyAfter)
	watch(revisions, cache.FilteringResourceEventHandler{FilterFunc: reconciler.LabelExistsFilterFunc(sluice.ModelLabelKey), Handler: replicas})
	watch(autoscalerinformer.Get(ctx, sluice.ModelLabelKey).Informer(), replicas)
	watch(sliceinformer.Get(ctx).Informer(), replicas)
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

package tenant

import (
	"context"
	"fmt"
	"time"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	ingressinformer "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/ingress"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	revisioninformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	ratelimitinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	tenantreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/tenant"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

// reportInterval is how often at most the status follows Models and their limits.
const reportInterval = 5 * time.Second

// NewController returns what wires the reconciler, for a Knative Serving in the
// given namespace. What lies among the gateways, one ConfigMap of Knative's, and
// Secrets of certificates are watched by informers of its own, so that the
// controller sees no more of them than it has to.
func NewController(servingNamespace string) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		logger := logging.FromContext(ctx)
		brokers := broker.Get(ctx).Lister().Brokers(sluice.SystemNamespace)
		sender, err := eventing.NewSender(eventing.BrokerAddress(brokers.Get))
		if err != nil {
			logger.Fatalw("Failed to set up the event sender", "error", err)
		}
		tenants := tenantinformer.Get(ctx)
		if err := tenancy.Index(tenants.Informer().GetIndexer()); err != nil {
			logger.Fatalw("Failed to index tenants", "error", err)
		}
		own := newInformers(ctx, servingNamespace)
		r := &Reconciler{
			sluice:           sluiceclient.Get(ctx),
			kube:             kubeclient.Get(ctx),
			istio:            istioclient.Get(ctx),
			sender:           sender,
			clock:            clock.RealClock{},
			servingNamespace: servingNamespace,

			tenants:      tenants.Lister(),
			models:       modelinformer.Get(ctx).Lister(),
			rateLimits:   ratelimitinformer.Get(ctx).Lister(),
			namespaces:   namespaceinformer.Get(ctx).Lister(),
			revisions:    revisioninformer.Get(ctx).Lister(),
			ingresses:    ingressinformer.Get(ctx).Lister(),
			domains:      own.serving.Core().V1().ConfigMaps().Lister(),
			certificates: own.certificates.Core().V1().Secrets().Lister(),

			virtualServices: own.routes.Networking().V1().VirtualServices().Informer().GetIndexer(),
			istioGateways:   own.istio.Networking().V1().Gateways().Lister(),
			services:        own.gateways.Core().V1().Services().Lister(),
			endpointSlices:  own.gateways.Discovery().V1().EndpointSlices().Lister(),
			pods:            own.gateways.Core().V1().Pods().Lister(),
			deployments:     own.gateways.Apps().V1().Deployments().Lister(),
			autoscalers:     own.gateways.Autoscaling().V2().HorizontalPodAutoscalers().Lister(),
		}
		store := config.NewGatewayStore(logger.Named("config-store"))
		impl := tenantreconciler.NewImpl(ctx, r, func(*controller.Impl) controller.Options {
			return controller.Options{ConfigStore: store, SkipStatusUpdates: true}
		})
		store.WatchConfigs(cmw)
		if err := watchAll(ctx, own, newEnqueuer(impl, tenants.Informer().GetIndexer(), logger)); err != nil {
			logger.Fatalw("Failed to watch what tenants are made of", "error", err)
		}
		if err := controller.StartInformers(ctx.Done(), own.all()...); err != nil {
			logger.Fatalw("Failed to start the tenants' informers", "error", err)
		}
		return impl
	}
}

// informers are those that see a part of the cluster alone.
type informers struct {
	// gateways and istio see the gateways' namespace; routes sees its
	// VirtualServices, without their routes.
	gateways kubeinformers.SharedInformerFactory
	istio    istioinformers.SharedInformerFactory
	routes   istioinformers.SharedInformerFactory
	// serving sees Knative's ConfigMap config-domain.
	serving kubeinformers.SharedInformerFactory
	// certificates sees the Secrets of type kubernetes.io/tls of all namespaces.
	certificates kubeinformers.SharedInformerFactory
}

func newInformers(ctx context.Context, servingNamespace string) informers {
	kube, istio, resync := kubeclient.Get(ctx), istioclient.Get(ctx), controller.GetResyncPeriod(ctx)
	matching := func(field, value string) kubeinformers.SharedInformerOption {
		return kubeinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(field, value).String()
		})
	}
	return informers{
		gateways: kubeinformers.NewSharedInformerFactoryWithOptions(kube, resync, kubeinformers.WithNamespace(gateway.Namespace)),
		istio:    istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace)),
		routes: istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace),
			istioinformers.WithTransform(withoutRoutes)),
		serving: kubeinformers.NewSharedInformerFactoryWithOptions(kube, resync, kubeinformers.WithNamespace(servingNamespace),
			matching("metadata.name", domainConfigMap)),
		certificates: kubeinformers.NewSharedInformerFactoryWithOptions(kube, resync, matching("type", string(corev1.SecretTypeTLS))),
	}
}

// withoutRoutes keeps of a VirtualService what a move goes by.
func withoutRoutes(object any) (any, error) {
	if vs, ok := object.(*istiov1.VirtualService); ok {
		vs.Spec = istioapi.VirtualService{Gateways: vs.Spec.Gateways}
		vs.ManagedFields = nil
	}
	return object, nil
}

func (i informers) all() []controller.Informer {
	return []controller.Informer{
		i.routes.Networking().V1().VirtualServices().Informer(),
		i.istio.Networking().V1().Gateways().Informer(),
		i.gateways.Core().V1().Services().Informer(),
		i.gateways.Core().V1().Pods().Informer(),
		i.gateways.Apps().V1().Deployments().Informer(),
		i.gateways.Autoscaling().V2().HorizontalPodAutoscalers().Informer(),
		i.gateways.Discovery().V1().EndpointSlices().Informer(),
		i.serving.Core().V1().ConfigMaps().Informer(),
		i.certificates.Core().V1().Secrets().Informer(),
	}
}

// watchAll has each change enqueue the tenants that it concerns.
func watchAll(ctx context.Context, own informers, e *enqueuer) error {
	routes := own.routes.Networking().V1().VirtualServices().Informer()
	if err := routes.AddIndexers(cache.Indexers{servedIndex: indexServed, boundIndex: indexBound}); err != nil {
		return fmt.Errorf("indexing routes: %w", err)
	}
	for _, watched := range []struct {
		informer cache.SharedInformer
		handler  func(object any)
	}{
		{tenantinformer.Get(ctx).Informer(), e.itself},
		{namespaceinformer.Get(ctx).Informer(), e.concerned},
		{modelinformer.Get(ctx).Informer(), e.holderLater},
		{ingressinformer.Get(ctx).Informer(), e.holder},
		{routes, e.holderOfRoute},
		{own.istio.Networking().V1().Gateways().Informer(), e.labelled},
		{own.gateways.Core().V1().Services().Informer(), e.labelled},
		{own.gateways.Discovery().V1().EndpointSlices().Informer(), e.labelled},
		{own.gateways.Core().V1().Pods().Informer(), e.moving},
		{own.gateways.Apps().V1().Deployments().Informer(), e.served},
		{own.gateways.Autoscaling().V2().HorizontalPodAutoscalers().Informer(), e.served},
		{own.serving.Core().V1().ConfigMaps().Informer(), e.everyone},
		{own.certificates.Core().V1().Secrets().Informer(), e.certified},
	} {
		if _, err := watched.informer.AddEventHandler(eachVersion(watched.handler)); err != nil {
			return fmt.Errorf("adding a handler: %w", err)
		}
	}
	if _, err := ratelimitinformer.Get(ctx).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: e.holderLater, UpdateFunc: e.limitChanged, DeleteFunc: e.holderLater,
	}); err != nil {
		return fmt.Errorf("adding a handler: %w", err)
	}
	if _, err := tenantinformer.Get(ctx).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: e.neighbours, DeleteFunc: e.everyone,
	}); err != nil {
		return fmt.Errorf("adding a handler: %w", err)
	}
	return nil
}

// eachVersion handles what an object is, and what it was before a change: a label
// that is gone has told whom it concerned.
func eachVersion(handle func(object any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(before, after any) { handle(before); handle(after) },
		DeleteFunc: handle,
	}
}

package tenant

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	networkingclient "knative.dev/networking/pkg/client/injection/client"
	ingressinformer "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/ingress"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	serviceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/service"
	endpointsliceinformer "knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	revisioninformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	ratelimitinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	tenantreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/tenant"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
	"sluice.dev/sluice/reconciler/informers"
	"sluice.dev/sluice/reconciler/recording"
)

// reportInterval is how often at most the status follows Models and their limits.
const reportInterval = 5 * time.Second

// NewController returns what wires the reconciler, for a Knative Serving in the
// given namespace.
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
		among, domains := informers.Get(ctx), informers.ConfigMap(kubeclient.Get(ctx), servingNamespace, tenancy.DomainConfig)
		r := &Reconciler{
			sluice:           sluiceclient.Get(ctx),
			kube:             kubeclient.Get(ctx),
			istio:            istioclient.Get(ctx),
			networking:       networkingclient.Get(ctx),
			sender:           sender,
			clock:            clock.RealClock{},
			servingNamespace: servingNamespace,

			tenants:      tenants.Lister(),
			models:       modelinformer.Get(ctx).Lister(),
			rateLimits:   ratelimitinformer.Get(ctx).Lister(),
			namespaces:   namespaceinformer.Get(ctx).Lister(),
			revisions:    revisioninformer.Get(ctx).Lister(),
			ingresses:    ingressinformer.Get(ctx).Lister(),
			domains:      domains.Lister(),
			certificates: among.Certificates.Lister(),

			virtualServices: among.VirtualServices.Informer().GetIndexer(),
			istioGateways:   among.IstioGateways.Lister(),
			services:        serviceinformer.Get(ctx).Lister(),
			endpointSlices:  endpointsliceinformer.Get(ctx).Lister(),
			pods:            among.Pods.Lister(),
			deployments:     among.Deployments.Lister(),
			autoscalers:     among.Autoscalers.Lister(),
		}
		store := config.NewGatewayStore(logger.Named("config-store"))
		impl := tenantreconciler.NewImpl(recording.WithRecorder(ctx, "tenant-controller"), r, func(*controller.Impl) controller.Options {
			return controller.Options{ConfigStore: store, SkipStatusUpdates: true}
		})
		store.WatchConfigs(cmw)
		if err := watchAll(ctx, domains.Informer(), newEnqueuer(impl, tenants.Informer().GetIndexer(), logger)); err != nil {
			logger.Fatalw("Failed to watch what tenants are made of", "error", err)
		}
		if err := controller.StartInformers(ctx.Done(), domains.Informer()); err != nil {
			logger.Fatalw("Failed to start the informer of Knative's domains", "error", err)
		}
		return impl
	}
}

// watchAll has each change enqueue the tenants that it concerns.
func watchAll(ctx context.Context, domains cache.SharedIndexInformer, e *enqueuer) error {
	among := informers.Get(ctx)
	routes := among.VirtualServices.Informer()
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
		{ingressinformer.Get(ctx).Informer(), e.holderLater},
		{ingressinformer.Get(ctx).Informer(), e.waiting},
		{routes, e.holderOfRoute},
		{among.IstioGateways.Informer(), e.labelled},
		{serviceinformer.Get(ctx).Informer(), e.labelled},
		{endpointsliceinformer.Get(ctx).Informer(), e.labelled},
		{among.Pods.Informer(), e.moving},
		{among.Deployments.Informer(), e.served},
		{among.Autoscalers.Informer(), e.served},
		{domains, e.everyone},
		{among.Certificates.Informer(), e.certified},
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

package gateway

import (
	"context"

	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/probetoken"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

// NewController wires the reconciler. It starts its own informers, because they
// see the gateways' namespace alone: the controller needs no right to list
// Deployments or Services anywhere else.
func NewController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	token, err := probetoken.Ensure(ctx, kubeclient.Get(ctx).CoreV1().Secrets(system.Namespace()))
	if err != nil {
		logger.Fatalw("Failed to get the probe token", "error", err)
	}
	kube := kubeinformers.NewSharedInformerFactoryWithOptions(kubeclient.Get(ctx), controller.GetResyncPeriod(ctx),
		kubeinformers.WithNamespace(gateway.Namespace))
	istio := istioinformers.NewSharedInformerFactoryWithOptions(istioclient.Get(ctx), controller.GetResyncPeriod(ctx),
		istioinformers.WithNamespace(gateway.Namespace))
	// Every Model has a VirtualService in that namespace; only the probe-only
	// ones carry the gateway's label.
	labelled := istioinformers.NewSharedInformerFactoryWithOptions(istioclient.Get(ctx), controller.GetResyncPeriod(ctx),
		istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.LabelKey }))

	r := &Reconciler{
		kube:            kubeclient.Get(ctx),
		istio:           istioclient.Get(ctx),
		probePath:       gateway.ProbePath(token),
		deployments:     kube.Apps().V1().Deployments().Lister(),
		services:        kube.Core().V1().Services().Lister(),
		serviceAccounts: kube.Core().V1().ServiceAccounts().Lister(),
		budgets:         kube.Policy().V1().PodDisruptionBudgets().Lister(),
		gateways:        istio.Networking().V1().Gateways().Lister(),
		virtualServices: labelled.Networking().V1().VirtualServices().Lister(),
		envoyFilters:    istio.Networking().V1alpha3().EnvoyFilters().Lister(),
	}
	impl := controller.NewContext(ctx, r, controller.ControllerOptions{WorkQueueName: "gateways", Logger: logger})
	enqueueAll := func() {
		for _, name := range gatewayNames() {
			impl.EnqueueKey(types.NamespacedName{Name: name})
		}
	}
	r.LeaderAwareFuncs = promoteAll()
	store := config.NewGatewayStore(logger.Named("config-store"), func(string, any) { enqueueAll() })
	store.WatchConfigs(cmw)
	r.config = store

	owned := []cache.SharedIndexInformer{
		kube.Apps().V1().Deployments().Informer(),
		kube.Core().V1().Services().Informer(),
		kube.Core().V1().ServiceAccounts().Informer(),
		kube.Policy().V1().PodDisruptionBudgets().Informer(),
		istio.Networking().V1().Gateways().Informer(),
		labelled.Networking().V1().VirtualServices().Informer(),
		istio.Networking().V1alpha3().EnvoyFilters().Informer(),
	}
	started := make([]controller.Informer, 0, len(owned))
	for _, informer := range owned {
		if _, err := informer.AddEventHandler(enqueueGatewayOf(impl)); err != nil {
			logger.Fatalw("Failed to watch a gateway's objects", "error", err)
		}
		started = append(started, informer)
	}
	if err := controller.StartInformers(ctx.Done(), started...); err != nil {
		logger.Fatalw("Failed to start the gateways' informers", "error", err)
	}
	enqueueAll()
	return impl
}

// promoteAll enqueues every gateway when this process comes to lead.
func promoteAll() pkgreconciler.LeaderAwareFuncs {
	return pkgreconciler.LeaderAwareFuncs{
		PromoteFunc: func(bucket pkgreconciler.Bucket, enqueue func(pkgreconciler.Bucket, types.NamespacedName)) error {
			for _, name := range gatewayNames() {
				enqueue(bucket, types.NamespacedName{Name: name})
			}
			return nil
		},
	}
}

// enqueueGatewayOf enqueues the gateway that an object's label names, or named
// before the change.
func enqueueGatewayOf(impl *controller.Impl) cache.ResourceEventHandler {
	enqueue := func(object any) {
		accessor, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		if name, ok := accessor.GetLabels()[gateway.LabelKey]; ok {
			impl.EnqueueKey(types.NamespacedName{Name: name})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(before, after any) { enqueue(before); enqueue(after) },
		DeleteFunc: enqueue,
	}
}

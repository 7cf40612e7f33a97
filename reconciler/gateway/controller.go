package gateway

import (
	"context"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/probetoken"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

// slotResource is what supplies slots.
var slotResource = istiov1alpha3.SchemeGroupVersion.WithResource("envoyfilters")

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

	// Of slots it matters only that they are there: what they hold changes often, and
	// costs much to read.
	objects, err := metadata.NewForConfig(injection.GetConfig(ctx))
	if err != nil {
		logger.Fatalw("Failed to build the metadata client", "error", err)
	}
	slots := metadatainformer.NewFilteredSharedInformerFactory(objects, controller.GetResyncPeriod(ctx), gateway.Namespace,
		func(o *metav1.ListOptions) { o.LabelSelector = gateway.SlotLabelKey }).ForResource(slotResource).Informer()
	filters := istioinformers.NewSharedInformerFactoryWithOptions(istioclient.Get(ctx), controller.GetResyncPeriod(ctx),
		istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "!" + gateway.SlotLabelKey }))

	r := &Reconciler{
		kube:            kubeclient.Get(ctx),
		istio:           istioclient.Get(ctx),
		probePath:       gateway.ProbePath(token),
		deployments:     kube.Apps().V1().Deployments().Lister(),
		services:        kube.Core().V1().Services().Lister(),
		serviceAccounts: kube.Core().V1().ServiceAccounts().Lister(),
		budgets:         kube.Policy().V1().PodDisruptionBudgets().Lister(),
		autoscalers:     kube.Autoscaling().V2().HorizontalPodAutoscalers().Lister(),
		pods:            kube.Core().V1().Pods().Lister(),
		gateways:        istio.Networking().V1().Gateways().Lister(),
		virtualServices: labelled.Networking().V1().VirtualServices().Lister(),
		envoyFilters:    filters.Networking().V1alpha3().EnvoyFilters().Lister(),
		slots:           metadatalister.New(slots.GetIndexer(), slotResource).Namespace(gateway.Namespace),
		tenants:         tenantinformer.Get(ctx).Lister(),
	}
	impl := controller.NewContext(ctx, r, controller.ControllerOptions{WorkQueueName: "gateways", Logger: logger})
	owned := []cache.SharedIndexInformer{
		kube.Apps().V1().Deployments().Informer(),
		kube.Core().V1().Services().Informer(),
		kube.Core().V1().ServiceAccounts().Informer(),
		kube.Core().V1().Pods().Informer(),
		kube.Policy().V1().PodDisruptionBudgets().Informer(),
		kube.Autoscaling().V2().HorizontalPodAutoscalers().Informer(),
		istio.Networking().V1().Gateways().Informer(),
		labelled.Networking().V1().VirtualServices().Informer(),
		filters.Networking().V1alpha3().EnvoyFilters().Informer(),
		slots,
	}
	tenants := tenantinformer.Get(ctx).Informer()
	names := func() []string { return gatewayNames(tenants, owned) }
	r.LeaderAwareFuncs = promote(names)
	store := config.NewGatewayStore(logger.Named("config-store"), func(string, any) {
		for _, name := range names() {
			impl.EnqueueKey(types.NamespacedName{Name: name})
		}
	})
	store.WatchConfigs(cmw)
	r.config = store

	if _, err := tenants.AddEventHandler(enqueueGateways(impl, ofTenant)); err != nil {
		logger.Fatalw("Failed to watch tenants", "error", err)
	}
	started := make([]controller.Informer, 0, len(owned))
	for _, informer := range owned {
		if _, err := informer.AddEventHandler(enqueueGateways(impl, byLabel)); err != nil {
			logger.Fatalw("Failed to watch a gateway's objects", "error", err)
		}
		started = append(started, informer)
	}
	if err := controller.StartInformers(ctx.Done(), started...); err != nil {
		logger.Fatalw("Failed to start the gateways' informers", "error", err)
	}
	impl.EnqueueKey(types.NamespacedName{Name: gateway.Shared})
	return impl
}

// gatewayNames lists the gateways that are wanted, and those of which anything is
// left: each Tenant's, whether it has one or not, and what labels name.
func gatewayNames(tenants cache.SharedIndexInformer, owned []cache.SharedIndexInformer) []string {
	names := sets.New(gateway.Shared)
	insert := func(informer cache.SharedIndexInformer, nameOf func(metav1.Object) string) {
		for _, object := range informer.GetStore().List() {
			if accessor, err := kmeta.DeletionHandlingAccessor(object); err == nil {
				names.Insert(nameOf(accessor))
			}
		}
	}
	insert(tenants, ofTenant)
	for _, informer := range owned {
		insert(informer, byLabel)
	}
	return sets.List(names.Delete(""))
}

func ofTenant(tenant metav1.Object) string { return gateway.OfTenant(tenant.GetName()) }

func byLabel(object metav1.Object) string { return object.GetLabels()[gateway.LabelKey] }

// promote enqueues every gateway when this process comes to lead.
func promote(names func() []string) pkgreconciler.LeaderAwareFuncs {
	return pkgreconciler.LeaderAwareFuncs{
		PromoteFunc: func(bucket pkgreconciler.Bucket, enqueue func(pkgreconciler.Bucket, types.NamespacedName)) error {
			for _, name := range names() {
				enqueue(bucket, types.NamespacedName{Name: name})
			}
			return nil
		},
	}
}

// enqueueGateways enqueues the gateway that an object belongs to, or belonged to
// before the change; "" is none.
func enqueueGateways(impl *controller.Impl, nameOf func(metav1.Object) string) cache.ResourceEventHandler {
	enqueue := func(object any) {
		if accessor, err := kmeta.DeletionHandlingAccessor(object); err == nil && nameOf(accessor) != "" {
			impl.EnqueueKey(types.NamespacedName{Name: nameOf(accessor)})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			if !isSlot(before) || !isSlot(after) { // a gateway waits for slots to be there, whatever they hold
				enqueue(before)
				enqueue(after)
			}
		},
		DeleteFunc: enqueue,
	}
}

// isSlot is true for what the limiter writes: as often as limits change.
func isSlot(object any) bool {
	accessor, err := kmeta.DeletionHandlingAccessor(object)
	return err == nil && accessor.GetLabels()[gateway.SlotLabelKey] != ""
}

package gateway

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata/metadatalister"
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
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

// NewController wires the reconciler.
func NewController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	token, err := probetoken.Ensure(ctx, kubeclient.Get(ctx).CoreV1().Secrets(system.Namespace()))
	if err != nil {
		logger.Fatalw("Failed to get the probe token", "error", err)
	}
	own, err := newParts(ctx)
	if err != nil {
		logger.Fatalw("Failed to set up the gateways' informers", "error", err)
	}
	r := &Reconciler{
		kube:            kubeclient.Get(ctx),
		istio:           istioclient.Get(ctx),
		probePath:       gateway.ProbePath(token),
		deployments:     own.kube.Apps().V1().Deployments().Lister(),
		services:        own.kube.Core().V1().Services().Lister(),
		serviceAccounts: own.kube.Core().V1().ServiceAccounts().Lister(),
		budgets:         own.kube.Policy().V1().PodDisruptionBudgets().Lister(),
		autoscalers:     own.kube.Autoscaling().V2().HorizontalPodAutoscalers().Lister(),
		pods:            own.kube.Core().V1().Pods().Lister(),
		gateways:        own.istio.Networking().V1().Gateways().Lister(),
		virtualServices: own.probes.Networking().V1().VirtualServices().Lister(),
		envoyFilters:    own.filters.Networking().V1alpha3().EnvoyFilters().Lister(),
		slots:           metadatalister.New(own.slots.GetIndexer(), gateway.SlotResource).Namespace(gateway.Namespace),
		tenants:         tenantinformer.Get(ctx).Lister(),
	}
	impl := controller.NewContext(ctx, r, controller.ControllerOptions{WorkQueueName: "gateways", Logger: logger})
	tenants := tenantinformer.Get(ctx).Informer()
	names := func() []string { return gatewayNames(tenants, own.all()) }
	r.LeaderAwareFuncs = promote(names)
	store := config.NewGatewayStore(logger.Named("config-store"), func(string, any) {
		for _, name := range names() {
			impl.EnqueueKey(types.NamespacedName{Name: name})
		}
	})
	store.WatchConfigs(cmw)
	r.config = store
	if err := watchAll(ctx, impl, tenants, own); err != nil {
		logger.Fatalw("Failed to watch what gateways are made of", "error", err)
	}
	impl.EnqueueKey(types.NamespacedName{Name: gateway.Shared})
	return impl
}

// watchAll has each change enqueue its gateway, and starts the gateways' own informers.
func watchAll(ctx context.Context, impl *controller.Impl, tenants cache.SharedIndexInformer, own parts) error {
	_, err := tenants.AddEventHandler(enqueueGateways(impl, ofTenant))
	errs := []error{err}
	for _, informer := range own.changing() {
		_, err := informer.AddEventHandler(enqueueGateways(impl, byLabel))
		errs = append(errs, err)
	}
	// A gateway waits for slots to be there, whatever they hold.
	slots := enqueueGateways(impl, byLabel)
	slots.UpdateFunc = nil
	_, err = own.slots.AddEventHandler(slots)
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("adding handlers: %w", err)
	}
	var started []controller.Informer
	for _, informer := range own.all() {
		started = append(started, informer)
	}
	return controller.StartInformers(ctx.Done(), started...)
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
func enqueueGateways(impl *controller.Impl, nameOf func(metav1.Object) string) cache.ResourceEventHandlerFuncs {
	enqueue := func(object any) {
		if accessor, err := kmeta.DeletionHandlingAccessor(object); err == nil && nameOf(accessor) != "" {
			impl.EnqueueKey(types.NamespacedName{Name: nameOf(accessor)})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(before, after any) { enqueue(before); enqueue(after) },
		DeleteFunc: enqueue,
	}
}

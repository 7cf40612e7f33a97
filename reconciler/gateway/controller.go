package gateway

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	serviceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/service"
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
	"sluice.dev/sluice/reconciler/informers"
)

// NewController wires the reconciler.
func NewController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	token, err := probetoken.Ensure(ctx, kubeclient.Get(ctx).CoreV1().Secrets(system.Namespace()))
	if err != nil {
		logger.Fatalw("Failed to get the probe token", "error", err)
	}
	among, services := informers.Get(ctx), serviceinformer.Get(ctx)
	r := &Reconciler{
		kube:            kubeclient.Get(ctx),
		istio:           istioclient.Get(ctx),
		recorder:        newRecorder(ctx),
		probePath:       gateway.ProbePath(token),
		deployments:     among.Deployments.Lister(),
		services:        services.Lister(),
		serviceAccounts: among.ServiceAccounts.Lister(),
		budgets:         among.Budgets.Lister(),
		autoscalers:     among.Autoscalers.Lister(),
		pods:            among.Pods.Lister(),
		gateways:        among.IstioGateways.Lister(),
		virtualServices: among.VirtualServices.Lister(),
		envoyFilters:    among.EnvoyFilters.Lister(),
		slots:           metadatalister.New(among.Slots.GetIndexer(), gateway.SlotResource).Namespace(gateway.Namespace),
		tenants:         tenantinformer.Get(ctx).Lister(),
	}
	impl := controller.NewContext(ctx, r, controller.ControllerOptions{WorkQueueName: "gateways", Logger: logger})
	tenants := tenantinformer.Get(ctx).Informer()
	// A gateway has to be looked at whenever one of these changes.
	changing := []cache.SharedIndexInformer{
		services.Informer(), among.Deployments.Informer(), among.ServiceAccounts.Informer(), among.Pods.Informer(), among.Budgets.Informer(),
		among.Autoscalers.Informer(), among.IstioGateways.Informer(), among.VirtualServices.Informer(), among.EnvoyFilters.Informer(),
	}
	names := func() []string { return gatewayNames(tenants, append(changing, among.Slots)) }
	r.LeaderAwareFuncs = promote(names)
	store := config.NewGatewayStore(logger.Named("config-store"), func(string, any) {
		for _, name := range names() {
			impl.EnqueueKey(types.NamespacedName{Name: name})
		}
	})
	store.WatchConfigs(cmw)
	r.config = store
	if err := watchAll(impl, tenants, changing, among.Slots); err != nil {
		logger.Fatalw("Failed to watch what gateways are made of", "error", err)
	}
	impl.EnqueueKey(types.NamespacedName{Name: gateway.Shared})
	return impl
}

// newRecorder returns what tells events of gateways.
func newRecorder(ctx context.Context) record.EventRecorder {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: kubeclient.Get(ctx).CoreV1().Events(gateway.Namespace)})
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "gateways"})
}

// watchAll has each change enqueue its gateway.
func watchAll(impl *controller.Impl, tenants cache.SharedIndexInformer, changing []cache.SharedIndexInformer, slots cache.SharedIndexInformer) error {
	_, err := tenants.AddEventHandler(enqueueGateways(impl, ofTenant))
	errs := []error{err}
	for _, informer := range changing {
		_, err := informer.AddEventHandler(enqueueGateways(impl, byLabel))
		errs = append(errs, err)
	}
	// A gateway waits for slots to be there, and has more of them when they fill.
	handler := enqueueGateways(impl, byLabel)
	changed := handler.UpdateFunc
	handler.UpdateFunc = func(before, after any) {
		if metadata, ok := after.(metav1.Object); ok && claimsOther(before, metadata) {
			changed(before, after)
		}
	}
	_, err = slots.AddEventHandler(handler)
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("adding handlers: %w", err)
	}
	return nil
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

// byLabel leaves out Services elsewhere: labels are anybody's to set there.
func byLabel(object metav1.Object) string {
	if object.GetNamespace() != gateway.Namespace {
		return ""
	}
	return object.GetLabels()[gateway.LabelKey]
}

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

package ingress

import (
	"context"

	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressinformer "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/ingress"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	serviceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/service"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/probetoken"
	"sluice.dev/sluice/reconciler/apis/sluice"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// ours filters Ingresses of our class, given as an annotation; any other class,
// an empty one or none is left alone.
func ours(object any) bool {
	return pkgreconciler.AnnotationFilterFunc(networking.IngressClassAnnotationKey, sluice.IngressClassName, false)(object)
}

// NewController wires the reconciler. VirtualServices and EndpointSlices are
// watched in the gateways' namespace alone, by informers of its own, so that the
// controller needs no right to see them elsewhere.
func NewController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	token, err := probetoken.Ensure(ctx, kubeclient.Get(ctx).CoreV1().Secrets(system.Namespace()))
	if err != nil {
		logger.Fatalw("Failed to get the probe token", "error", err)
	}
	ingresses := ingressinformer.Get(ctx)
	claims, err := newClaims(ingresses.Informer().GetIndexer())
	if err != nil {
		logger.Fatalw("Failed to index hosts", "error", err)
	}
	istio := istioinformers.NewSharedInformerFactoryWithOptions(istioclient.Get(ctx), controller.GetResyncPeriod(ctx),
		istioinformers.WithNamespace(gateway.Namespace))
	kube := kubeinformers.NewSharedInformerFactoryWithOptions(kubeclient.Get(ctx), controller.GetResyncPeriod(ctx),
		kubeinformers.WithNamespace(gateway.Namespace))

	r := &Reconciler{
		istio:           istioclient.Get(ctx),
		virtualServices: istio.Networking().V1().VirtualServices().Lister(),
		endpointSlices:  kube.Discovery().V1().EndpointSlices().Lister(),
		claims:          claims,
		clock:           clock.RealClock{},
		services:        serviceinformer.Get(ctx).Lister(),
		stopwatch:       newStopwatch(clock.RealClock{}, readySeconds.Observe),
		probePath:       gateway.ProbePath(token),
	}
	impl := ingressreconciler.NewImpl(ctx, r, sluice.IngressClassName, func(*controller.Impl) controller.Options {
		return controller.Options{PromoteFilterFunc: ours}
	})
	r.tracker = impl.Tracker
	r.prover = NewProver(r.probePath, clock.RealClock{}, impl.EnqueueKey)

	watch(ctx, ingresses.Informer(), cache.FilteringResourceEventHandler{
		FilterFunc: ours, Handler: controller.HandleAll(impl.Enqueue)})
	watch(ctx, ingresses.Informer(), cache.FilteringResourceEventHandler{
		FilterFunc: ours, Handler: enqueueSharing(ctx, claims, impl)})
	// Only those that the tracker knows: another name for our own entry, or not.
	watch(ctx, serviceinformer.Get(ctx).Informer(), controller.HandleAll(
		controller.EnsureTypeMeta(impl.Tracker.OnChanged, corev1.SchemeGroupVersion.WithKind("Service"))))
	routes := istio.Networking().V1().VirtualServices().Informer()
	watch(ctx, routes, controller.HandleAll(enqueueServed(impl)))
	endpoints := kube.Discovery().V1().EndpointSlices().Informer()
	watch(ctx, endpoints, controller.HandleAll(func(any) {
		impl.FilteredGlobalResync(ours, ingresses.Informer())
	}))
	if err := controller.StartInformers(ctx.Done(), routes, endpoints); err != nil {
		logger.Fatalw("Failed to start the ingress informers", "error", err)
	}
	return impl
}

func watch(ctx context.Context, informer cache.SharedInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		logging.FromContext(ctx).Fatalw("Failed to watch", "error", err)
	}
}

// enqueueServed enqueues the Ingress that a VirtualService serves.
func enqueueServed(impl *controller.Impl) func(any) {
	return func(object any) {
		accessor, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		if namespace, name, ok := resources.IngressOf(accessor.GetName()); ok {
			impl.EnqueueKey(types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
}

// enqueueSharing enqueues, when an Ingress comes, changes its hosts or goes, the
// others that named one of them: it may be their turn.
func enqueueSharing(ctx context.Context, claims *claims, impl *controller.Impl) cache.ResourceEventHandler {
	enqueue := func(ing *v1alpha1.Ingress) {
		others, err := claims.sharing(ing)
		if err != nil {
			logging.FromContext(ctx).Errorw("Failed to find the ingresses that share a host", "error", err)
		}
		for _, key := range others {
			impl.EnqueueKey(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			if ing, ok := before.(*v1alpha1.Ingress); ok && before.(*v1alpha1.Ingress).Generation != after.(*v1alpha1.Ingress).Generation {
				enqueue(ing)
			}
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if ing, ok := object.(*v1alpha1.Ingress); ok {
				enqueue(ing)
			}
		},
	}
}

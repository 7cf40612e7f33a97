package ingress

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressinformer "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/ingress"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	serviceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/service"
	endpointsliceinformer "knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	revisioninformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision"
	routeinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/route"
	knativeinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/probetoken"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	"sluice.dev/sluice/reconciler/apis/sluice"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	ratelimitinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
	"sluice.dev/sluice/reconciler/informers"
	"sluice.dev/sluice/reconciler/ingress/ownership"
	"sluice.dev/sluice/reconciler/recording"
)

// ours filters Ingresses of our class, given as an annotation; any other class,
// an empty one or none is left alone.
func ours(object any) bool {
	return pkgreconciler.AnnotationFilterFunc(networking.IngressClassAnnotationKey, sluice.IngressClassName, false)(object)
}

// NewController wires the reconciler.
func NewController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	token, err := probetoken.Ensure(ctx, kubeclient.Get(ctx).CoreV1().Secrets(system.Namespace()))
	if err != nil {
		logger.Fatalw("Failed to get the probe token", "error", err)
	}
	among := informers.Get(ctx)
	models, limits := modelinformer.Get(ctx), ratelimitinformer.Get(ctx)
	knatives, knativeRoutes, revisions := knativeinformer.Get(ctx), routeinformer.Get(ctx), revisioninformer.Get(ctx)
	ingresses, tenants := ingressinformer.Get(ctx).Informer(), tenantinformer.Get(ctx).Informer()
	claims, err := newClaims(ingresses.GetIndexer(), tenants.GetIndexer(), among.VirtualServices.Informer().GetIndexer())
	if err != nil {
		logger.Fatalw("Failed to index hosts", "error", err)
	}

	r := &Reconciler{
		kube:            kubeclient.Get(ctx),
		istio:           istioclient.Get(ctx),
		virtualServices: among.VirtualServices.Lister(),
		gateways:        among.IstioGateways.Lister(),
		splits:          among.EnvoyFilters.Lister(),
		pods:            among.Pods.Lister(),
		services:        serviceinformer.Get(ctx).Lister(),
		endpointSlices:  endpointsliceinformer.Get(ctx).Lister(),
		secrets:         among.Certificates.Lister(),
		tenants:         tenants.GetIndexer(),
		owners: ownership.Registry{
			Models: models.Lister(), RateLimits: limits.Lister(),
			Services: knatives.Lister(), Routes: knativeRoutes.Lister(), Revisions: revisions.Lister(),
		},
		claims:    claims,
		clock:     clock.RealClock{},
		stopwatch: newStopwatch(clock.RealClock{}, readySeconds.Observe),
		probePath: gateway.ProbePath(token),
	}
	impl := ingressreconciler.NewImpl(recording.WithRecorder(ctx, "ingress-controller"), r, sluice.IngressClassName, func(*controller.Impl) controller.Options {
		return controller.Options{PromoteFilterFunc: ours}
	})
	r.tracker = impl.Tracker
	r.prover = NewProver(r.probePath, clock.RealClock{}, impl.EnqueueKey, reach.In(r.pods.Pods(gateway.Namespace)))

	// The tracker knows which Services, revisions and Secrets Ingresses name.
	serviceChanged := controller.EnsureTypeMeta(impl.Tracker.OnChanged, corev1.SchemeGroupVersion.WithKind("Service"))
	secretChanged := controller.EnsureTypeMeta(impl.Tracker.OnChanged, corev1.SchemeGroupVersion.WithKind("Secret"))
	w := &waker{claims: claims, revisions: revisions.Lister(), log: logger, one: impl.EnqueueKey, service: func(s *corev1.Service) { serviceChanged(s) }, all: func(which func(*v1alpha1.Ingress) bool) {
		impl.FilteredGlobalResync(func(object any) bool {
			ing, ok := object.(*v1alpha1.Ingress)
			return ok && ours(ing) && which(ing)
		}, ingresses)
	}}
	watch(ctx, ingresses, cache.FilteringResourceEventHandler{FilterFunc: ours, Handler: controller.HandleAll(impl.Enqueue)})
	watch(ctx, ingresses, cache.FilteringResourceEventHandler{FilterFunc: ours, Handler: w.ingresses()})
	watch(ctx, tenants, w.tenants())
	watch(ctx, among.VirtualServices.Informer(), w.routes())
	watch(ctx, among.IstioGateways.Informer(), w.gateways())
	watch(ctx, among.EnvoyFilters.Informer(), w.splits())
	watch(ctx, among.Pods.Informer(), w.pods())
	watch(ctx, among.Certificates.Informer(), w.copies())
	watch(ctx, among.Certificates.Informer(), controller.HandleAll(secretChanged))
	watch(ctx, endpointsliceinformer.Get(ctx).Informer(), w.endpoints())
	watch(ctx, serviceinformer.Get(ctx).Informer(), controller.HandleAll(serviceChanged))
	watch(ctx, limits.Informer(), w.limits())
	watch(ctx, revisions.Informer(), marks(controller.EnsureTypeMeta(impl.Tracker.OnChanged, servingv1.SchemeGroupVersion.WithKind("Revision"))))
	for _, owners := range []cache.SharedInformer{models.Informer(), knatives.Informer(), knativeRoutes.Informer()} {
		watch(ctx, owners, w.namesakes())
	}
	return impl
}

func watch(ctx context.Context, informer cache.SharedInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		logging.FromContext(ctx).Fatalw("Failed to watch", "error", err)
	}
}

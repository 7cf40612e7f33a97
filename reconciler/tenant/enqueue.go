package tenant

import (
	"slices"

	"go.uber.org/zap"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// enqueuer finds the tenants that a change concerns.
type enqueuer struct {
	impl    *controller.Impl
	tenants cache.Indexer
	logger  *zap.SugaredLogger
}

func newEnqueuer(impl *controller.Impl, tenants cache.Indexer, logger *zap.SugaredLogger) *enqueuer {
	return &enqueuer{impl: impl, tenants: tenants, logger: logger}
}

func (e *enqueuer) enqueue(name string) { e.impl.EnqueueKey(types.NamespacedName{Name: name}) }

func (e *enqueuer) those(concerned func(*v1alpha1.Tenant) bool) {
	for _, object := range e.tenants.List() {
		if t, ok := object.(*v1alpha1.Tenant); ok && concerned(t) {
			e.enqueue(t.Name)
		}
	}
}

func (e *enqueuer) everyone(any) { e.those(func(*v1alpha1.Tenant) bool { return true }) }

func (e *enqueuer) itself(object any) { e.impl.Enqueue(object) }

// neighbours enqueues all others when a tenant asks for something else, or has
// something else: it may be their turn.
func (e *enqueuer) neighbours(before, after any) {
	was, okWas := before.(*v1alpha1.Tenant)
	is, okIs := after.(*v1alpha1.Tenant)
	if !okWas || !okIs || (was.Generation == is.Generation && was.DomainInForce() == is.DomainInForce() &&
		equality.Semantic.DeepEqual(was.Status.Namespaces, is.Status.Namespaces)) {
		return
	}
	e.those(func(t *v1alpha1.Tenant) bool { return t.Name != is.Name })
}

func (e *enqueuer) concerned(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if namespace, ok := object.(*corev1.Namespace); ok {
		e.those(func(t *v1alpha1.Tenant) bool { return resources.Concerns(t, namespace) })
	}
}

// waiting enqueues the tenants that wait for a domain which an Ingress has hosts
// under, or had.
func (e *enqueuer) waiting(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if ing, ok := object.(*netv1alpha1.Ingress); ok {
		e.those(func(t *v1alpha1.Tenant) bool { return t.AwaitsDomain() && tenancy.NamesUnder(ing, t.Spec.Domain) })
	}
}

// holderOfRoute enqueues the tenant whose namespace a VirtualService serves.
func (e *enqueuer) holderOfRoute(object any) {
	e.withMeta(object, func(meta metav1.Object) {
		if namespace, _, ok := gateway.IngressOf(meta.GetName()); ok {
			e.holderOf(namespace)
		}
	})
}

func (e *enqueuer) holderOf(namespace string) {
	if t := e.of(namespace); t != nil && moves(t) {
		e.enqueue(t.Name)
	}
}

// holderLater enqueues the tenant of an object's namespace: at once if it waits for
// proof, else for the sake of its report, which need not follow each change.
func (e *enqueuer) holderLater(object any) {
	e.withMeta(object, func(meta metav1.Object) {
		switch t := e.of(meta.GetNamespace()); {
		case t == nil:
		case moves(t):
			e.enqueue(t.Name)
		default:
			e.reportLater(t)
		}
	})
}

func (e *enqueuer) reportLater(t *v1alpha1.Tenant) {
	e.impl.EnqueueKeyAfter(types.NamespacedName{Name: t.Name}, reportInterval)
}

// limitChanged enqueues as holderLater does. What changes with a Model's scale, which
// may be often, is no proof.
func (e *enqueuer) limitChanged(before, after any) {
	was, okWas := before.(*v1alpha1.RateLimit)
	is, okIs := after.(*v1alpha1.RateLimit)
	if !okWas || !okIs || was.Generation != is.Generation || was.IsReady() != is.IsReady() {
		e.holderLater(after)
	} else if t := e.of(is.Namespace); t != nil {
		e.reportLater(t)
	}
}

func (e *enqueuer) of(namespace string) *v1alpha1.Tenant {
	t, err := tenancy.Of(e.tenants, namespace)
	if err != nil {
		e.logger.Errorw("Failed to find the tenant of a namespace", "namespace", namespace, "error", err)
	}
	return t
}

// labelled enqueues the tenant that the label of an object among the gateways names.
// EndpointSlices have the labels of their Service.
func (e *enqueuer) labelled(object any) {
	e.withMeta(object, func(meta metav1.Object) {
		if name := meta.GetLabels()[sluice.TenantLabelKey]; name != "" && meta.GetNamespace() == gateway.Namespace {
			e.enqueue(name)
		}
	})
}

// moving enqueues the tenants that move from or to the gateway of an object.
func (e *enqueuer) moving(object any) {
	e.withMeta(object, func(meta metav1.Object) {
		name := meta.GetLabels()[gateway.LabelKey]
		e.those(func(t *v1alpha1.Tenant) bool {
			return t.Status.Move != nil && (t.Status.Move.From == name || t.Status.Move.To == name)
		})
	})
}

// served enqueues the tenants that are, or are to be, served by an object's gateway.
func (e *enqueuer) served(object any) {
	e.withMeta(object, func(meta metav1.Object) {
		name := meta.GetLabels()[gateway.LabelKey]
		e.those(func(t *v1alpha1.Tenant) bool { return t.Status.Gateway == name || t.WantedGateway() == name })
	})
}

// certified enqueues the tenants whose certificate, or copy of it, a Secret is.
func (e *enqueuer) certified(object any) {
	e.labelled(object)
	e.withMeta(object, func(meta metav1.Object) {
		e.those(func(t *v1alpha1.Tenant) bool {
			tls := t.Spec.TLS
			return tls != nil && tls.SecretName == meta.GetName() && tls.SecretNamespace == meta.GetNamespace()
		})
	})
}

func (*enqueuer) withMeta(object any, handle func(metav1.Object)) {
	if meta, err := kmeta.DeletionHandlingAccessor(object); err == nil {
		handle(meta)
	}
}

func indexServed(object any) ([]string, error) {
	if vs, ok := object.(*istiov1.VirtualService); ok {
		if namespace, _, ok := gateway.IngressOf(vs.Name); ok {
			return []string{namespace}, nil
		}
	}
	return nil, nil
}

func indexBound(object any) ([]string, error) {
	if vs, ok := object.(*istiov1.VirtualService); ok {
		return slices.Clone(vs.Spec.Gateways), nil
	}
	return nil, nil
}

package ingress

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

// waker enqueues the Ingresses that an event is about.
type waker struct {
	claims    *claims
	revisions servinglisters.RevisionLister
	log       *zap.SugaredLogger
	// service tells that a Service changed that Ingresses may track.
	service func(*corev1.Service)
	// one enqueues an Ingress, which need not exist; all those that a filter picks.
	one func(types.NamespacedName)
	all func(which func(*v1alpha1.Ingress) bool)
}

// handler calls changed with an object before and after: nil before it came, nil
// after it went, and not at all when an informer only repeats itself.
func handler[T metav1.Object](changed func(before, after T)) cache.ResourceEventHandler {
	var none T
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if after, ok := object.(T); ok {
				changed(none, after)
			}
		},
		UpdateFunc: func(old, object any) {
			before, okBefore := old.(T)
			after, okAfter := object.(T)
			if okBefore && okAfter && before.GetResourceVersion() != after.GetResourceVersion() {
				changed(before, after)
			}
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if before, ok := object.(T); ok {
				changed(before, none)
			}
		},
	}
}

// ingresses wakes, when an Ingress changes its hosts or goes, the others that named
// one of them: it may be their turn.
func (w *waker) ingresses() cache.ResourceEventHandler {
	return handler(func(before, after *v1alpha1.Ingress) {
		if before != nil && (after == nil || before.Generation != after.Generation) {
			w.sharing(hostsOf(before))
		}
	})
}

// routes wakes the Ingress that a VirtualService serves and, when it names a host no
// more, those that wait for that.
func (w *waker) routes() cache.ResourceEventHandler {
	return handler(func(before, after *istiov1.VirtualService) {
		if namespace, name, ok := gateway.IngressOf(latest(before, after).Name); ok {
			w.one(types.NamespacedName{Namespace: namespace, Name: name})
		}
		if before != nil && (after == nil || !slices.Equal(before.Spec.Hosts, after.Spec.Hosts)) {
			w.sharing(before.Spec.Hosts)
		}
	})
}

// tenants wakes whom a Tenant's change concerns: anyone where it is about who holds
// what, else its own.
func (w *waker) tenants() cache.ResourceEventHandler {
	return handler(func(before, after *sluicev1alpha1.Tenant) {
		switch {
		case before == nil || after == nil || before.ReservedDomain() != after.ReservedDomain() || !slices.Equal(held(before), held(after)):
			w.all(func(*v1alpha1.Ingress) bool { return true })
		case !equality.Semantic.DeepEqual(servedBy(before), servedBy(after)):
			w.all(func(ing *v1alpha1.Ingress) bool { return after.Holds(ing.Namespace) })
		}
	})
}

// held lists the namespaces of a Tenant, each with its phase.
func held(tenant *sluicev1alpha1.Tenant) []string {
	var out []string
	for _, namespace := range tenant.Status.Namespaces {
		out = append(out, namespace.Name+"/"+string(namespace.Phase))
	}
	return out
}

// servedBy is what the routes of a Tenant's Ingresses follow, and whether they may be.
func servedBy(tenant *sluicev1alpha1.Tenant) []any {
	return []any{tenant.Spec.TLS, tenant.Status.Gateway, tenant.Status.Attached, tenant.HasCaps()}
}

// gateways wakes those who are served through an Istio Gateway.
func (w *waker) gateways() cache.ResourceEventHandler {
	return handler(func(before, after *istiov1.Gateway) {
		changed := latest(before, after)
		if owner, ok := gateway.OwnerOf(changed.Name); ok {
			w.owner(owner)
		} else {
			w.on(changed.Spec.Selector[gateway.LabelKey])
		}
	})
}

// splits wakes the Ingress whose requests an EnvoyFilter splits.
func (w *waker) splits() cache.ResourceEventHandler {
	return handler(func(before, after *istiov1alpha3.EnvoyFilter) {
		if namespace, name, ok := gateway.IngressOf(latest(before, after).Name); ok {
			w.one(types.NamespacedName{Namespace: namespace, Name: name})
		}
	})
}

// copies wakes those whom a copy of a Secret is for.
func (w *waker) copies() cache.ResourceEventHandler {
	return handler(func(before, after *corev1.Secret) {
		changed := latest(before, after)
		if changed.Namespace != gateway.Namespace {
			return
		}
		if owner, ok := gateway.OwnerOf(changed.Name); ok {
			w.owner(owner)
		} else {
			w.owner(changed.Name)
		}
	})
}

// pods wakes, when a gateway pod begins or ends to take traffic, those whose
// routes it has.
func (w *waker) pods() cache.ResourceEventHandler {
	return handler(func(before, after *corev1.Pod) {
		if before != nil && after != nil && reach.Ready(before) == reach.Ready(after) && before.Status.PodIP == after.Status.PodIP {
			return
		}
		w.on(latest(before, after).Labels[gateway.LabelKey])
	})
}

// endpoints wakes, when a Service begins to have any that answer, those who send
// there; and when one that is no revision's has others, which may be anybody's.
func (w *waker) endpoints() cache.ResourceEventHandler {
	return handler(func(before, after *discoveryv1.EndpointSlice) {
		if after == nil || !answers(after) {
			return
		}
		service := after.Labels[discoveryv1.LabelServiceName]
		if before != nil && answers(before) {
			_, err := w.revisions.Revisions(after.Namespace).Get(service)
			if err == nil || equality.Semantic.DeepEqual(before.Endpoints, after.Endpoints) {
				return
			}
		}
		w.service(&corev1.Service{ObjectMeta: metav1.ObjectMeta{
			Namespace: after.Namespace, Name: service,
		}})
	})
}

// limits wakes the Ingress of a RateLimit's name when it may be proved elsewhere.
func (w *waker) limits() cache.ResourceEventHandler {
	return handler(func(before, after *sluicev1alpha1.RateLimit) {
		if before != nil && after != nil && slices.Equal(provedAt(before), provedAt(after)) &&
			equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) {
			return
		}
		w.namesake(latest(before, after))
	})
}

// provedAt are the gateways at which a RateLimit's present generation was proved.
func provedAt(of *sluicev1alpha1.RateLimit) []string {
	return slices.DeleteFunc(slices.Clone(of.Spec.Gateways), func(name string) bool { return !of.ProvedAt(name) })
}

// namesakes wakes the Ingress of an object's name when the object comes, goes or gets
// another owner: it may be its own.
func (w *waker) namesakes() cache.ResourceEventHandler {
	return handler(func(before, after metav1.Object) {
		switch {
		case after == nil:
			w.namesake(before)
		case before == nil || !equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()):
			w.namesake(after)
		}
	})
}

func (w *waker) namesake(of metav1.Object) {
	w.one(types.NamespacedName{Namespace: of.GetNamespace(), Name: of.GetName()})
}

// marks calls changed when a revision comes, goes, or may have become another's.
func marks(changed func(any)) cache.ResourceEventHandler {
	return handler(func(before, after *servingv1.Revision) {
		if before == nil || after == nil || !maps.Equal(before.Labels, after.Labels) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) {
			changed(latest(before, after))
		}
	})
}

// sharing wakes those who name one of some hosts.
func (w *waker) sharing(hosts []string) {
	keys, err := w.claims.sharing(hosts)
	if err != nil {
		w.log.Errorw("Failed to find the ingresses that share a host", "error", err)
	}
	for _, key := range keys {
		w.one(key)
	}
}

// on wakes those who are served by a gateway.
func (w *waker) on(name string) {
	w.all(func(ing *v1alpha1.Ingress) bool {
		tenant, err := tenancy.Of(w.claims.tenants, ing.Namespace)
		return err != nil || slices.Contains(tenant.GatewaysOf(ing.Namespace), name)
	})
}

// owner wakes the Ingress of a VirtualService, or those of the Tenant of an address.
func (w *waker) owner(name string) {
	if namespace, ingress, ok := gateway.IngressOf(name); ok {
		w.one(types.NamespacedName{Namespace: namespace, Name: ingress})
		return
	}
	w.all(func(ing *v1alpha1.Ingress) bool {
		tenant, err := tenancy.Of(w.claims.tenants, ing.Namespace)
		return err != nil || (tenant != nil && gateway.OfTenant(tenant.Name) == name)
	})
}

// latest returns an object as it is, or as it was before it went.
func latest[T any](before, after *T) *T {
	if after != nil {
		return after
	}
	return before
}

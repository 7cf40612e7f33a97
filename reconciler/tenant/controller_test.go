package tenant

import (
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

func TestIndexes(t *testing.T) {
	vs := boundTo(&istiov1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "server"}})
	bound, _ := indexBound(vs)
	served, _ := indexServed(vs)
	if len(bound) != 1 || bound[0] != "sluice-gateways/server" || len(served) != 1 || served[0] != "search" {
		t.Errorf("indexed by %v and %v", bound, served)
	}
	if served, _ := indexServed(&istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "shared-limits"}}); len(served) > 0 {
		t.Errorf("a gateway's own route is indexed by %v", served)
	}
}

// A change enqueues the tenants that it concerns, and no others.
func TestEnqueuer(t *testing.T) {
	named := func(name string, changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
		return resting(append(changes, func(t *v1alpha1.Tenant) {
			t.Name = name
			t.Spec.Namespaces.Names = []string{name}
			t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: name, Phase: v1alpha1.NamespaceHeld}}
		})...)
	}
	moves := named("search", dedicated, moving(v1alpha1.MovePreparing, ""), domain, tls)
	rests := named("ads", selecting)
	in := func(namespace, name string, labels ...string) metav1.ObjectMeta {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			meta.Labels[labels[i]] = labels[i+1]
		}
		return meta
	}
	hosting := func(host string) *netv1alpha1.Ingress {
		return &netv1alpha1.Ingress{Spec: netv1alpha1.IngressSpec{Rules: []netv1alpha1.IngressRule{{Hosts: []string{host}}}}}
	}
	waits := named("waits", func(t *v1alpha1.Tenant) { t.Spec.Domain, t.Generation = "wanted.example.com", 2 })
	for _, test := range []struct {
		name   string
		change func(*enqueuer)
		want   []string
	}{
		{"a namespace that is held", func(e *enqueuer) { e.concerned(namespace("ads")) }, []string{"ads"}},
		{"a namespace that is selected", func(e *enqueuer) { e.concerned(namespace("x", "team", "search")) }, []string{"ads"}},
		{"a namespace that was missed", func(e *enqueuer) { e.concerned(cache.DeletedFinalStateUnknown{Obj: namespace("search")}) }, []string{"search"}},
		{"a namespace of nobody", func(e *enqueuer) { e.concerned(namespace("x")) }, nil},
		{"an Ingress during a move", func(e *enqueuer) { e.holderLater(ingress(own)) }, []string{"search"}},
		{"a route during a move", func(e *enqueuer) { e.holderOfRoute(route("")) }, []string{"search"}},
		{"a route at rest", func(e *enqueuer) {
			e.holderOfRoute(&istiov1.VirtualService{ObjectMeta: in(gateway.Namespace, "ads.x")})
		}, nil},
		{"a limit during a move", func(e *enqueuer) { e.holderLater(rateLimit("ranker", "1")) }, []string{"search"}},
		{"a limit's proof during a move", func(e *enqueuer) {
			before, after := rateLimit("ranker", "1"), rateLimit("ranker", "2")
			before.Status.SetConditions(nil)
			e.limitChanged(before, after)
		}, []string{"search"}},
		{"another scale during a move", func(e *enqueuer) { e.limitChanged(rateLimit("ranker", "1"), rateLimit("ranker", "2")) }, nil},
		{"a limit at rest", func(e *enqueuer) { e.holderLater(&v1alpha1.RateLimit{ObjectMeta: in("ads", "x")}) }, nil},
		{"a Service", func(e *enqueuer) { e.labelled(services(own)[0]) }, []string{"search"}},
		{"endpoints", func(e *enqueuer) {
			e.labelled(&discoveryv1.EndpointSlice{ObjectMeta: in(gateway.Namespace, "x", sluice.TenantLabelKey, "ads")})
		}, []string{"ads"}},
		{"a Model's endpoints", func(e *enqueuer) {
			e.labelled(&discoveryv1.EndpointSlice{ObjectMeta: in("ads", "x", sluice.TenantLabelKey, "ads")})
		}, nil},
		{"a pod of the gateway to come", func(e *enqueuer) { e.moving(pod(own, "x", "")) }, []string{"search"}},
		{"a pod of the gateway before", func(e *enqueuer) { e.moving(pod(gateway.Shared, "x", "")) }, []string{"search"}},
		{"a pod of another gateway", func(e *enqueuer) { e.moving(pod("tenant-ads", "x", "")) }, nil},
		{"the shared gateway", func(e *enqueuer) { e.served(deployment(gateway.Shared, 1)) }, []string{"ads", "search", "waits"}},
		{"the gateway that is wanted", func(e *enqueuer) { e.served(deployment(own, 1)) }, []string{"search"}},
		{"a certificate", func(e *enqueuer) { e.certified(&corev1.Secret{ObjectMeta: in("search", "tls")}) }, []string{"search"}},
		{"its copy", func(e *enqueuer) {
			e.certified(&corev1.Secret{ObjectMeta: in(gateway.Namespace, "x", sluice.TenantLabelKey, "search")})
		}, []string{"search"}},
		{"another's certificate", func(e *enqueuer) { e.certified(&corev1.Secret{ObjectMeta: in("ads", "tls")}) }, nil},
		{"a neighbour asks for something else", func(e *enqueuer) {
			e.neighbours(rests, named("ads", func(t *v1alpha1.Tenant) { t.Generation = 2 }))
		}, []string{"search", "waits"}},
		{"a neighbour lets go", func(e *enqueuer) {
			after := rests.DeepCopy()
			after.Status.Namespaces = nil
			e.neighbours(rests, after)
		}, []string{"search", "waits"}},
		{"a neighbour's report", func(e *enqueuer) {
			after := rests.DeepCopy()
			after.Status.Models = 9
			e.neighbours(rests, after)
		}, nil},
		{"a neighbour gives up a domain", func(e *enqueuer) {
			before := named("ads", domain)
			after := before.DeepCopy()
			after.Status.Domain, after.Status.ObservedGeneration = "", 0
			e.neighbours(before, after)
		}, []string{"search", "waits"}},
		{"an Ingress under a domain that is waited for", func(e *enqueuer) { e.waiting(hosting("x.wanted.example.com")) }, []string{"waits"}},
		{"such an Ingress that goes", func(e *enqueuer) {
			e.waiting(cache.DeletedFinalStateUnknown{Obj: hosting("wanted.example.com")})
		}, []string{"waits"}},
		{"an Ingress elsewhere", func(e *enqueuer) { e.waiting(hosting("x.example.com")) }, nil},
		{"an Ingress under a domain in force", func(e *enqueuer) { e.waiting(hosting("x.search.example.com")) }, nil},
		{"Knative's ConfigMap", func(e *enqueuer) { e.everyone(domains()) }, []string{"ads", "search", "waits"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			impl := controller.NewContext(t.Context(), nil, controller.ControllerOptions{WorkQueueName: t.Name(), Logger: logging.FromContext(t.Context())})
			tenants := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
			if err := tenancy.Index(tenants); err != nil {
				t.Fatal(err)
			}
			for _, tenant := range []*v1alpha1.Tenant{moves, rests, waits} {
				if err := tenants.Add(tenant); err != nil {
					t.Fatal(err)
				}
			}
			test.change(newEnqueuer(impl, tenants, logging.FromContext(t.Context())))
			// What is on its way between the lanes of the queue is of no length: it comes out before
			// the end that a shutdown has.
			impl.WorkQueue().ShutDown()
			got := sets.New[string]()
			for item, over := impl.WorkQueue().Get(); !over; item, over = impl.WorkQueue().Get() {
				got.Insert(item.(types.NamespacedName).Name)
				impl.WorkQueue().Done(item)
			}
			if !got.Equal(sets.New(test.want...)) {
				t.Errorf("enqueued %v, want %v", sets.List(got), test.want)
			}
		})
	}
}

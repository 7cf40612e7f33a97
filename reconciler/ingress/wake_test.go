package ingress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/ptr"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// An event wakes those that it concerns, and nobody else.
func TestWake(t *testing.T) {
	mine, other := claimant("team", "mine", 1, "shared.example"), claimant("free", "other", 2, "shared.example", "other.example")
	tenant := tenantOf("acme", "acme.example", 0, "team")
	tenant.Status.Attached, tenant.Status.Gateway = []string{"tenant-acme"}, "tenant-acme"
	changed := func(change func(*sluicev1alpha1.Tenant)) *sluicev1alpha1.Tenant {
		out := tenant.DeepCopy()
		out.ResourceVersion = "2"
		change(out)
		return out
	}
	meta := func(name, version string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, ResourceVersion: version}
	}
	routeOf := func(name, version string, hosts ...string) *istiov1.VirtualService {
		return &istiov1.VirtualService{ObjectMeta: meta(name, version), Spec: istioapi.VirtualService{Hosts: hosts}}
	}
	istioGatewayOf := func(name, of string) *istiov1.Gateway {
		return &istiov1.Gateway{ObjectMeta: meta(name, "1"), Spec: istioapi.Gateway{Selector: map[string]string{gateway.LabelKey: of}}}
	}
	filterOf := func(name string) *istiov1alpha3.EnvoyFilter {
		return &istiov1alpha3.EnvoyFilter{ObjectMeta: meta(name, "1")}
	}
	secretIn := func(namespace, name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	again := func(ing *v1alpha1.Ingress, generation int64) *v1alpha1.Ingress {
		out := ing.DeepCopy()
		out.Generation, out.ResourceVersion = generation, "2"
		return out
	}
	podAt := func(ip, version string) *corev1.Pod {
		pod := gatewayPod("tenant-acme", "acme-a", ip)
		pod.ResourceVersion = version
		return pod
	}
	add := func(object any) func(cache.ResourceEventHandler) {
		return func(h cache.ResourceEventHandler) { h.OnAdd(object, false) }
	}
	update := func(before, after any) func(cache.ResourceEventHandler) {
		return func(h cache.ResourceEventHandler) { h.OnUpdate(before, after) }
	}
	remove := func(object any) func(cache.ResourceEventHandler) {
		return func(h cache.ResourceEventHandler) { h.OnDelete(object) }
	}
	ingresses, routes, tenants := (*waker).ingresses, (*waker).routes, (*waker).tenants
	gateways, splits, copies, pods, ends := (*waker).gateways, (*waker).splits, (*waker).copies, (*waker).pods, (*waker).endpoints
	versioned := func(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
		slice.ResourceVersion = "2"
		return slice
	}

	limits, namesakes := (*waker).limits, (*waker).namesakes
	limit := func(version string, generation int64, provedAt ...string) *sluicev1alpha1.RateLimit {
		out := limitOf(modelNamed("mine"), provedAt...)
		out.ResourceVersion, out.Generation = version, generation
		return out
	}
	owned := routeOwnedBy("mine", "1")
	owned.ResourceVersion = "2"
	selected := func(pod string) *discoveryv1.EndpointSlice {
		slice := endpoints("by-hand")
		slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
		return slice
	}

	for _, test := range []struct {
		name  string
		kind  func(*waker) cache.ResourceEventHandler
		event func(cache.ResourceEventHandler)
		wakes []string
	}{
		{"an Ingress that comes", ingresses, add(mine), nil},
		{"an Ingress whose status changes", ingresses, update(mine, again(mine, 0)), nil},
		{"an Ingress that may have other hosts", ingresses, update(mine, again(mine, 1)), []string{"free/other", "team/mine"}},
		{"an Ingress that goes", ingresses, remove(cache.DeletedFinalStateUnknown{Obj: mine}), []string{"free/other", "team/mine"}},

		{"a route", routes, add(routeOf("team.mine", "1", "shared.example")), []string{"team/mine"}},
		{"a route of nobody's any more", routes, add(routeOf("gone.away", "1")), []string{"gone/away"}},
		{"a gateway's own route", routes, add(routeOf("shared-limits", "1")), nil},
		{"an informer that repeats itself", routes, update(routeOf("team.mine", "1"), routeOf("team.mine", "1")), nil},
		{"a route that leaves a host", routes, update(routeOf("team.mine", "1", "other.example"), routeOf("team.mine", "2")), []string{"free/other", "team/mine"}},
		{"a route that goes", routes, remove(routeOf("gone.away", "1", "shared.example")), []string{"free/other", "gone/away", "team/mine"}},

		{"a tenant that comes", tenants, add(tenant), []string{"free/other", "team/mine"}},
		{"a tenant that counts its Models", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Status.Models++ })), nil},
		{"a tenant of another domain", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Status.Domain = "x.example" })), []string{"free/other", "team/mine"}},
		{"a tenant that asks for another domain", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Spec.Domain = "x.example" })), nil},
		{"a tenant that is to go, and keeps nobody from its domain", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) {
			now := metav1.Now()
			t.DeletionTimestamp = &now
		})), []string{"free/other", "team/mine"}},
		{"a tenant that lets a namespace go", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) {
			t.Status.Namespaces = []sluicev1alpha1.TenantNamespace{{Name: "team", Phase: sluicev1alpha1.NamespaceLeaving}}
		})), []string{"free/other", "team/mine"}},
		{"a tenant that moves", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Status.Attached = []string{"shared", "tenant-acme"} })), []string{"team/mine"}},
		{"a tenant that gets a certificate", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Spec.TLS = &sluicev1alpha1.TenantTLS{} })), []string{"team/mine"}},

		{"the shared gateway", gateways, add(istioGatewayOf("shared-local", "shared")), []string{"free/other"}},
		{"a tenant's gateway", gateways, add(istioGatewayOf("tenant-acme", "tenant-acme")), []string{"team/mine"}},
		{"a tenant's certificate on a gateway", gateways, add(istioGatewayOf("tenant-acme.tenant-acme", "tenant-acme")), []string{"team/mine"}},
		{"an Ingress' certificate on a gateway", gateways, remove(istioGatewayOf("team.mine.tenant-acme", "tenant-acme")), []string{"team/mine"}},

		{"what splits an Ingress' requests", splits, add(filterOf("team.mine")), []string{"team/mine"}},
		{"such that was missed", splits, remove(cache.DeletedFinalStateUnknown{Obj: filterOf("team.mine")}), []string{"team/mine"}},
		{"a gateway's own filter", splits, add(filterOf("tenant-acme")), nil},

		{"a tenant's copy", copies, add(secretIn(gateway.Namespace, "tenant-acme")), []string{"team/mine"}},
		{"an Ingress' copy", copies, add(secretIn(gateway.Namespace, "free.other.tls-0123")), []string{"free/other"}},
		{"a Secret elsewhere", copies, add(secretIn("team", "tenant-acme")), nil},

		{"a tenant that gets a cap", tenants, update(tenant, changed(func(t *sluicev1alpha1.Tenant) { t.Spec.Limits.Models = ptr.Int32(1) })), []string{"team/mine"}},
		{"a tenant that raises it", tenants, update(
			changed(func(t *sluicev1alpha1.Tenant) { t.Spec.Limits.Models, t.ResourceVersion = ptr.Int32(1), "1" }),
			changed(func(t *sluicev1alpha1.Tenant) { t.Spec.Limits.Models = ptr.Int32(2) })), nil},

		{"a limit", limits, add(limit("1", 1)), []string{"team/mine"}},
		{"a limit that is proved", limits, update(limit("1", 1), limit("2", 1, "shared")), []string{"team/mine"}},
		{"a limit that changes", limits, update(limit("1", 1, "shared"), limit("2", 1, "shared")), nil},
		{"a limit that is to be proved again", limits, update(limit("1", 1, "shared"), limit("2", 2, "shared")), []string{"team/mine"}},

		{"a Model", namesakes, add(modelNamed("mine")), []string{"team/mine"}},
		{"a Route that gets an owner", namesakes, update(routeOwnedBy("mine", ""), owned), []string{"team/mine"}},
		{"a Route that keeps it", namesakes, update(routeOwnedBy("mine", "1"), owned), nil},
		{"a Route that goes", namesakes, remove(owned), []string{"team/mine"}},

		{"endpoints of a Service by hand that are another pod's", ends, update(selected("a"), versioned(selected("b"))), []string{"service team/by-hand"}},
		{"a pod that becomes ready", pods, update(podAt("", "1"), podAt("10.0.0.1", "2")), []string{"team/mine"}},
		{"endpoints that begin to answer", ends, update(empty("ranker-00001"), versioned(endpoints("ranker-00001"))), []string{"service team/ranker-00001"}},
		{"endpoints that go on to", ends, update(endpoints("ranker-00001"), versioned(endpoints("ranker-00001"))), nil},
		{"endpoints that don't", ends, add(empty("ranker-00001")), nil},
		{"a pod that is as it was", pods, update(podAt("10.0.0.1", "1"), podAt("10.0.0.1", "2")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := claimsOf(t, []*sluicev1alpha1.Tenant{tenant}, mine, other)
			var woken []string
			w := &waker{
				claims:    c,
				revisions: servinglisters.NewRevisionLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})),
				one:       func(key types.NamespacedName) { woken = append(woken, key.String()) },
				service:   func(s *corev1.Service) { woken = append(woken, "service "+s.Namespace+"/"+s.Name) },
				all: func(which func(*v1alpha1.Ingress) bool) {
					for _, ing := range []*v1alpha1.Ingress{mine, other} {
						if which(ing) {
							woken = append(woken, keyOf(ing).String())
						}
					}
				},
			}
			test.event(test.kind(w))
			slices.Sort(woken)
			if diff := cmp.Diff(test.wakes, slices.Compact(woken)); diff != "" {
				t.Errorf("woken (-want +got):\n%s", diff)
			}
		})
	}
}

package ingress

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	. "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

const (
	acmes = "tenant-acme"
	// wildcard is the Istio Gateway of acme's certificate on its own gateway.
	wildcard = "tenant-acme.tenant-acme"
)

// acme holds namespace team and is attached to gateways, the last of which its
// address leads to.
func acme(phase sluicev1alpha1.NamespacePhase, attached ...string) *sluicev1alpha1.Tenant {
	return &sluicev1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "acme"},
		Status: sluicev1alpha1.TenantStatus{
			Namespaces: []sluicev1alpha1.TenantNamespace{{Name: "team", Phase: phase}},
			Attached:   slices.Sorted(slices.Values(attached)), Gateway: attached[len(attached)-1],
		},
	}
}

// certified gives a tenant the domain of the Ingress' host, and a certificate.
func certified(tenant *sluicev1alpha1.Tenant) *sluicev1alpha1.Tenant {
	tenant.Status.Domain = "example.com"
	tenant.Spec.TLS = &sluicev1alpha1.TenantTLS{SecretName: "wildcard", HTTPProtocol: sluicev1alpha1.HTTPRedirected}
	return tenant
}

// ofAcme is acme's own gateway with a ready pod, beside the shared one and other
// objects.
func ofAcme(others ...runtime.Object) []runtime.Object {
	return slices.Concat(shared(others...), entries(acmes), []runtime.Object{gatewayPod(acmes, "acme-a", "10.0.1.1")})
}

// wildcardGateway serves HTTPS for acme's domain on its own gateway.
func wildcardGateway() *istiov1.Gateway {
	return &istiov1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: wildcard},
		Spec: istioapi.Gateway{
			Selector: map[string]string{gateway.LabelKey: acmes},
			Servers: []*istioapi.Server{{
				Port: &istioapi.Port{Number: gateway.Secure.Port}, Hosts: []string{"./*.example.com"},
				Tls: &istioapi.ServerTLSSettings{CredentialName: gateway.CredentialName(acmes)},
			}},
		},
	}
}

func ofTenant(b resources.Binding) resources.Binding {
	b.Tenant = "acme"
	return b
}

// aliased follows the Ingress' Service to the local entry at acme's address.
func aliased(b resources.Binding) resources.Binding {
	b.Aliases = map[types.NamespacedName]string{
		{Namespace: "team", Name: "ranker-00001"}: "tenant-acme-local.sluice-gateways.svc.cluster.local",
	}
	return b
}

// asks checks what was last asked about the external host.
func asks(prover *fakeProver, want ...Question) []func(*testing.T, *TableRow) {
	return []func(*testing.T, *TableRow){func(t *testing.T, _ *TableRow) {
		t.Helper()
		got := slices.DeleteFunc(slices.Clone(prover.claimed[len(prover.claimed)-1].Questions), func(q Question) bool { return q.Host != externalHost })
		byGateway := cmpopts.SortSlices(func(a, b Question) bool { return a.Gateway+string(rune(a.Port)) < b.Gateway+string(rune(b.Port)) })
		if diff := cmp.Diff(want, got, byGateway, cmpopts.IgnoreUnexported(Question{})); diff != "" {
			t.Errorf("questions (-want +got):\n%s", diff)
		}
	}}
}

func TestReconcileTenants(t *testing.T) {
	both := []string{gateway.Shared, acmes}
	ready := []option{observed, networkConfigured, at(acmes)}
	and := func(more ...option) []option { return append(slices.Clone(ready), more...) }
	stolen := func(ing *v1alpha1.Ingress) { ing.Labels = map[string]string{sluice.TenantLabelKey: "rival"} }
	shortly := Proof{Pending: []string{"acme-a"}, Since: now.Add(-time.Second)}
	ownPair, tenantPair := certificate(t, "team", "bought", externalHost), certificate(t, gateway.Namespace, acmes, "*.team.example.com")
	wanted := kingress(secured)
	own := "team.ranker.tenant-acme"
	const (
		anothers = `host "ranker.team.example.com" is of the domain of a Tenant that doesn't hold namespace team: ` +
			"use another host, or have it hold the namespace"
		missing = "Waiting for Istio Gateway sluice-gateways/tenant-acme.tenant-acme. See condition CertificateReady of Tenant acme."
	)
	redirectedThere := ofTenant(redirecting(on([]string{acmes}, wildcard), acmes))
	// A certificate of its own for two hosts, of which the tenant's gets one.
	const tag = "tag-" + externalHost
	tagged := func(ing *v1alpha1.Ingress) {
		secured(ing)
		ing.Spec.Rules[0].Hosts, ing.Spec.TLS[0].Hosts = []string{externalHost, tag}, []string{tag}
	}
	forBoth := func(ing *v1alpha1.Ingress) { ing.Spec.TLS[0].Hosts = ing.Spec.Rules[0].Hosts }
	before, after := secureGateway(kingress(tagged, forBoth), "acme", acmes), secureGateway(kingress(tagged), "acme", acmes)
	divided := routed(kingress(tagged), ofTenant(on([]string{acmes}, own, wildcard)), provedOn("tenant-acme"))
	ofTwo := func(others ...runtime.Object) []runtime.Object {
		tenant := certified(acme(sluicev1alpha1.NamespaceHeld, acmes))
		tenant.Spec.TLS.HTTPProtocol = sluicev1alpha1.HTTPEnabled
		return append(ofAcme(kingress(and(tagged)...), tenant, wildcardGateway(), tenantPair, ownPair, copyOf(t, wanted, "acme", ownPair)), others...)
	}
	askedLong, asksStill := &fakeProver{}, &fakeProver{proof: shortly}
	asked := &fakeProver{}

	run(t, TableTest{{
		Name:        "a gateway that is attached gets the routes beside the one before",
		Objects:     ofAcme(kingress(append(and(), stolen)...), acme(sluicev1alpha1.NamespaceHeld, acmes, gateway.Shared), routed(kingress(), ofTenant(on([]string{gateway.Shared})), provedOn("shared"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(kingress(), ofTenant(on(both)), provedOn("shared"))}},
	}, {
		Name:              "and is told of once each of their pods serves them",
		Objects:           ofAcme(kingress(and()...), acme(sluicev1alpha1.NamespaceHeld, acmes, gateway.Shared), routed(kingress(), ofTenant(on(both)))),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(kingress(), ofTenant(on(both)), provedOn("shared,tenant-acme"))}},
	}, {
		Name: "not before it has any, though the one that the address leads to serves on",
		Objects: append(shared(kingress(and()...), acme(sluicev1alpha1.NamespaceHeld, acmes, gateway.Shared), routed(kingress(), ofTenant(on(both)))),
			entries(acmes)...),
	}, {
		Name: "which is not enough once the address leads there",
		Objects: append(shared(kingress(and()...), acme(sluicev1alpha1.NamespaceHeld, gateway.Shared, acmes), routed(kingress(), ofTenant(on(both)))),
			entries(acmes)...),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(and(unproved("NoGatewayPod", "Gateway tenant-acme has no ready pod."))...)}},
	}, {
		Name:        "a gateway that is detached loses the routes",
		Objects:     ofAcme(kingress(and()...), acme(sluicev1alpha1.NamespaceHeld, acmes), routed(kingress(), ofTenant(on(both)), provedOn("shared,tenant-acme"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(kingress(), ofTenant(on([]string{acmes})), provedOn("shared,tenant-acme"))}},
	}, {
		Name:          "not while one of the other's pods lags, and plain HTTP is redirected there still",
		OtherTestData: map[string]any{"prover": &fakeProver{proof: shortly}},
		Objects: ofAcme(kingress(append(and(), secured, redirected)...), acme(sluicev1alpha1.NamespaceHeld, acmes), ownPair, copyOf(t, wanted, "acme", ownPair),
			secureGateway(wanted, "acme", acmes), secureGateway(wanted, "acme", gateway.Shared),
			routed(kingress(secured, redirected), ofTenant(redirecting(on(both, "team.ranker.shared", own), both...)))),
		WantErr: true, // a requeue
	}, {
		Name:              "a namespace that has come is published at its tenant's address once it is served there",
		Objects:           ofAcme(kingress(observed, networkConfigured, loadBalancerReady), acme(sluicev1alpha1.NamespaceJoining, acmes), routed(kingress(), ofTenant(on(both)), provedOn("shared,tenant-acme"))),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(and()...)}},
	}, {
		Name:          "not before",
		OtherTestData: map[string]any{"prover": &fakeProver{proof: shortly}},
		Objects:       ofAcme(kingress(observed, networkConfigured, loadBalancerReady), acme(sluicev1alpha1.NamespaceJoining, acmes), routed(kingress(), ofTenant(on(both)))),
		WantErr:       true, // a requeue
	}, {
		Name: "while one goes, names of its tenant's address are followed still",
		Objects: ofAcme(kingress(append(and(), at(gateway.Shared))...), acme(sluicev1alpha1.NamespaceLeaving, acmes),
			routed(kingress(), aliased(ofTenant(on(both))), provedOn("shared,tenant-acme")), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker-00001"},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "tenant-acme-local.sluice-gateways.svc.cluster.local"},
			}),
	}, {
		Name:    "a host of its domain is served by its certificate, and plain HTTP leads there",
		Objects: ofAcme(kingress(), certified(acme(sluicev1alpha1.NamespaceHeld, acmes)), wildcardGateway(), tenantPair),
		WantCreates: []runtime.Object{
			routed(kingress(), redirectedThere),
		},
		OtherTestData:     map[string]any{"prover": asked},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(and()...)}},
		PostConditions: asks(asked,
			Question{Gateway: acmes, Port: 8080, Host: externalHost}, Question{Gateway: acmes, Port: 8081, Host: externalHost},
			Question{Gateway: acmes, Port: 8443, Host: externalHost, Certificate: tlssecret.FingerprintOf(tenantPair)}),
	}, {
		Name: "unless the tenant says otherwise",
		Objects: ofAcme(kingress(), func() *sluicev1alpha1.Tenant {
			tenant := certified(acme(sluicev1alpha1.NamespaceHeld, acmes))
			tenant.Spec.TLS.HTTPProtocol = sluicev1alpha1.HTTPEnabled
			return tenant
		}(), wildcardGateway(), tenantPair),
		WantCreates:       []runtime.Object{routed(kingress(), ofTenant(on([]string{acmes}, wildcard)))},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(and()...)}},
	}, {
		Name: "while the tenant has no certificate, what was served is, and not ready for long",
		OtherTestData: map[string]any{"prover": &fakeProver{proof: Proof{
			Pending: []string{"Istio Gateway sluice-gateways/tenant-acme.tenant-acme"}, Since: now.Add(-newPodPatience)}}},
		Objects:     ofAcme(kingress(and()...), certified(acme(sluicev1alpha1.NamespaceJoining, acmes)), routed(kingress(), ofTenant(on(both)))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(kingress(), ofTenant(on(both, wildcard)))}},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(and(unproved("Missing", missing))...)}},
	}, {
		Name:    "a namespace that has come is redirected where its tenant's certificate is shown",
		Objects: ofAcme(kingress(), certified(acme(sluicev1alpha1.NamespaceJoining, acmes)), wildcardGateway(), tenantPair),
		WantCreates: []runtime.Object{
			routed(kingress(), ofTenant(redirecting(on(both, wildcard), acmes))),
		},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(and()...)}},
	}, {
		Name:          "its own certificate takes the place of its tenant's: first both are bound",
		OtherTestData: map[string]any{"prover": &fakeProver{proof: shortly}},
		Objects: ofAcme(kingress(append(and(), secured)...), certified(acme(sluicev1alpha1.NamespaceHeld, acmes)), wildcardGateway(), tenantPair,
			ownPair, routed(kingress(), redirectedThere, provedOn("tenant-acme"))),
		WantCreates: []runtime.Object{copyOf(t, wanted, "acme", ownPair), secureGateway(wanted, "acme", acmes)},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: routed(wanted, ofTenant(on([]string{acmes}, own, wildcard)), provedOn("tenant-acme"))}},
		WantErr: true, // a requeue
	}, {
		Name:          "then, seen, its tenant's is left",
		OtherTestData: map[string]any{"prover": asked},
		Objects: ofAcme(kingress(append(and(), secured)...), certified(acme(sluicev1alpha1.NamespaceHeld, acmes)), wildcardGateway(), tenantPair,
			ownPair, copyOf(t, wanted, "acme", ownPair), secureGateway(wanted, "acme", acmes),
			routed(wanted, ofTenant(on([]string{acmes}, own, wildcard)), provedOn("tenant-acme"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: routed(wanted, ofTenant(on([]string{acmes}, own)), provedOn("tenant-acme"))}},
		PostConditions: asks(asked,
			Question{Gateway: acmes, Port: 8080, Host: externalHost}, Question{Gateway: acmes, Port: 8081, Host: externalHost},
			Question{Gateway: acmes, Port: 8443, Host: externalHost, Certificate: tlssecret.FingerprintOf(ownPair)}),
	}, {
		Name:        "its tenant's certificate takes the place of its own for one of two hosts: first both are bound",
		Objects:     ofTwo(before, routed(kingress(tagged), ofTenant(on([]string{acmes}, own)), provedOn("tenant-acme"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: divided}},
		WantErr:     true, // a requeue
	}, {
		Name:          "until that is seen, its own is shown for both",
		OtherTestData: map[string]any{"prover": asksStill},
		Objects:       ofTwo(before, divided),
		WantErr:       true, // a requeue
		PostConditions: asks(asksStill,
			Question{Gateway: acmes, Port: 8080, Host: externalHost}, Question{Gateway: acmes, Port: 8081, Host: externalHost},
			Question{Gateway: acmes, Port: 8443, Host: externalHost, Certificate: tlssecret.FingerprintOf(ownPair)}),
	}, {
		Name:          "then for the other alone, which is to be seen too",
		OtherTestData: map[string]any{"prover": askedLong},
		Objects:       ofTwo(before, divided),
		WantUpdates:   []clientgotesting.UpdateActionImpl{{Object: after}},
		WantErr:       true, // a requeue
		PostConditions: asks(askedLong,
			Question{Gateway: acmes, Port: 8080, Host: externalHost}, Question{Gateway: acmes, Port: 8081, Host: externalHost},
			Question{Gateway: acmes, Port: 8443, Host: externalHost, Certificate: tlssecret.FingerprintOf(tenantPair)}),
	}, {
		Name:    "and no more is written",
		Objects: ofTwo(after, divided),
	}, {
		Name: "a host of a domain that is asked for and not in force is served on",
		Objects: shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn(gateway.Shared)), func() *sluicev1alpha1.Tenant {
			tenant := acme(sluicev1alpha1.NamespaceHeld, gateway.Shared)
			tenant.Spec.Domain, tenant.Status.Namespaces[0].Name = "example.com", "others"
			return tenant
		}()),
	}, {
		Name: "a host of another's domain is refused, even to one who had it",
		Objects: shared(kingress(observed, networkConfigured, loadBalancerReady), route(), func() *sluicev1alpha1.Tenant {
			tenant := acme(sluicev1alpha1.NamespaceHeld, gateway.Shared)
			tenant.Status.Domain, tenant.Status.Namespaces[0].Name = "example.com", "others"
			return tenant
		}()),
		WantDeletes: []clientgotesting.DeleteActionImpl{deletionOf("virtualservices", "team.ranker")},
		WantEvents:  []string{Eventf(corev1.EventTypeWarning, "HostNotAvailable", anothers)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, loadBalancerReady, refused("HostNotAvailable", anothers))}},
	}, {
		Name: "a host is not served before its last holder's routes are gone",
		Objects: shared(kingress(), &istiov1.VirtualService{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "other.ranker", Labels: map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy}},
			Spec:       istioapi.VirtualService{Hosts: []string{externalHost}},
		}),
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "HostNotAvailable", `host "ranker.team.example.com" is still being withdrawn from its last holder`)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, refused("HostNotAvailable", `host "ranker.team.example.com" is still being withdrawn from its last holder`))}},
	}})
}

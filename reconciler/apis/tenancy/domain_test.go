package tenancy

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	routeconfig "knative.dev/serving/pkg/reconciler/route/config"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// What is written is what Knative reads.
func TestDomainEntry(t *testing.T) {
	data := map[string]string{"search.example.com": DomainEntry("search"), "example.com": ""}
	domains, err := routeconfig.NewDomainFromConfigMap(&corev1.ConfigMap{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]string{"search": "search.example.com", "ads": "example.com"} {
		if got := domains.LookupDomainForLabels(map[string]string{sluice.TenantLabelKey: tenant}); got != want {
			t.Errorf("tenant %s gets %s, want %s", tenant, got, want)
		}
	}
	for value, want := range map[string]bool{
		DomainEntry("search"): true, `{"selector": {"sluice.dev/tenant": "search"}}`: true,
		DomainEntry("ads"): false, "": false, "selector: {app: x, sluice.dev/tenant: search}": false, "{": false,
	} {
		if got := IsDomainEntry(value, "search"); got != want {
			t.Errorf("%q: got %t, want %t", value, got, want)
		}
	}
}

func TestStaleDomains(t *testing.T) {
	data := map[string]string{
		"_example": "selector:", "example.com": "", "ads.example.com": DomainEntry("ads"),
		"old.example.com": DomainEntry("search"), "search.example.com": DomainEntry("search"),
	}
	if got, want := StaleDomains(data, "search", "search.example.com"), []string{"old.example.com"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := StaleDomains(data, "search", ""), []string{"old.example.com", "search.example.com"}; !slices.Equal(got, want) {
		t.Errorf("with no domain: got %v, want %v", got, want)
	}
}

// asking is a tenant that asks for a domain; in force, it has it.
func asking(name string, created int64, domain string, changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := tenant(name, created, name)
	t.Spec.Domain = domain
	for _, change := range changes {
		change(t)
	}
	return t
}

func inForce(t *v1alpha1.Tenant) { t.Status.Domain = t.Spec.Domain }

func deleted(t *v1alpha1.Tenant) { now := metav1.Now(); t.DeletionTimestamp = &now }

func naming(namespace string, hosts ...string) *netv1alpha1.Ingress {
	return &netv1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "ranker",
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: netv1alpha1.IngressSpec{Rules: []netv1alpha1.IngressRule{{Hosts: []string{"ranker.other.svc"}}, {Hosts: hosts}}},
	}
}

func TestRefused(t *testing.T) {
	foreign := naming("x", "ranker.x.example.com")
	foreign.Annotations = nil
	const domain = "a.example.com"
	for _, test := range []struct {
		name      string
		tenant    *v1alpha1.Tenant
		others    []*v1alpha1.Tenant
		config    map[string]string
		ingresses []*netv1alpha1.Ingress
		reason    string // "" for a domain that is the tenant's
		not       string // in the message
	}{
		{name: "nobody else", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 1, "b.example.com"), asking("c", 1, "")}},
		{name: "no domain", tenant: asking("a", 5, "")},

		{name: "an older one above it", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 1, "example.com")}, reason: "HeldByAnother"},
		{name: "a younger one", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 6, "x."+domain)}},
		{name: "a younger one that has it", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 6, "example.com", inForce)}, reason: "HeldByAnother"},
		{name: "an older one, that comes to a domain that is had", tenant: asking("a", 5, domain, inForce), others: []*v1alpha1.Tenant{asking("b", 1, domain)}},
		{name: "two that were given it at once", tenant: asking("a", 5, domain, inForce), others: []*v1alpha1.Tenant{asking("b", 1, domain, inForce)}, reason: "HeldByAnother"},
		{name: "one that is being deleted", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 1, domain, inForce, deleted)}},
		{
			name: "an older one that is refused for its hosts", tenant: asking("a", 5, domain), others: []*v1alpha1.Tenant{asking("b", 1, "example.com")},
			ingresses: []*netv1alpha1.Ingress{naming("a", "ranker."+domain)},
		},
		{
			name: "an older one that is refused for a third's", tenant: asking("a", 5, domain),
			others: []*v1alpha1.Tenant{asking("b", 1, "example.com"), asking("c", 6, "c.example.com", inForce)},
		},

		{name: "the cluster's default", tenant: asking("a", 5, "example.org"), config: map[string]string{"example.org": ""}, reason: "NotOwned"},
		{name: "above it", tenant: asking("a", 5, "example.org"), config: map[string]string{"k.example.org": ""}, reason: "NotOwned"},
		{name: "though it was in force before", tenant: asking("a", 5, "example.org", inForce), config: map[string]string{"k.example.org": ""}, reason: "NotOwned"},
		{name: "below it", tenant: asking("a", 5, "a.example.org"), config: map[string]string{"example.org": ""}},
		{name: "one by a selector", tenant: asking("a", 5, "example.org"), config: map[string]string{"example.org": "selector: {app: x}"}, reason: "NotOwned"},
		{name: "its own of before", tenant: asking("a", 5, "example.org"), config: map[string]string{"k.example.org": DomainEntry("a"), "_example": ""}},
		{name: "of Services", tenant: asking("a", 5, "x.svc.cluster.local"), reason: "Reserved"},
		{name: "of Services, shortened", tenant: asking("a", 5, "x.svc"), reason: "Reserved"},

		{name: "hosts of its own", tenant: asking("a", 5, domain), ingresses: []*netv1alpha1.Ingress{naming("a", "ranker."+domain)}},
		{name: "hosts of others", tenant: asking("a", 5, domain), ingresses: []*netv1alpha1.Ingress{naming("secret-ns", "ranker."+domain)}, reason: "ServesOthers", not: "secret-ns"},
		{name: "others at the domain itself", tenant: asking("a", 5, domain), ingresses: []*netv1alpha1.Ingress{naming("x", domain)}, reason: "ServesOthers"},
		{name: "hosts of others that end alike", tenant: asking("a", 5, domain), ingresses: []*netv1alpha1.Ingress{naming("x", "ranker.b"+domain)}},
		{name: "hosts of another class", tenant: asking("a", 5, "x.example.com"), ingresses: []*netv1alpha1.Ingress{foreign}},
		{name: "who comes to a domain in force", tenant: asking("a", 5, domain, inForce), ingresses: []*netv1alpha1.Ingress{naming("x", "ranker."+domain)}},
		{
			name: "another domain than the one in force", tenant: asking("a", 5, "b.example.com", func(t *v1alpha1.Tenant) { t.Status.Domain = domain }),
			ingresses: []*netv1alpha1.Ingress{naming("x", "ranker.b.example.com")}, reason: "ServesOthers",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Domains{Tenants: append(test.others, test.tenant), Config: test.config, ConfigMap: "knative-serving/config-domain", Ingresses: test.ingresses}
			got := d.Refused(test.tenant)
			switch {
			case got == nil && test.reason != "":
				t.Errorf("not refused, want %s", test.reason)
			case got != nil && got.Reason != test.reason:
				t.Errorf("refused: %+v, want %q", got, test.reason)
			case got != nil && test.not != "" && strings.Contains(got.Message, test.not):
				t.Errorf("%q tells of %s", got.Message, test.not)
			}
		})
	}
}

// Whatever tenants ask for and have, once each has decided no two have domains that
// overlap and nothing changes any more.
func TestRefusedSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		domains := rapid.SampledFrom([]string{"", "x.com", "a.x.com", "b.x.com", "c.a.x.com", "y.com", "k.com"})
		d := Domains{Config: map[string]string{"z.k.com": ""}, Ingresses: []*netv1alpha1.Ingress{naming("ns", "h.c.a.x.com"), naming("t1", "h.b.x.com")}}
		for i, name := range []string{"t0", "t1", "t2", "t3"} {
			of := asking(name, rapid.Int64Range(0, 2).Draw(t, "created"), domains.Draw(t, "domain"))
			if rapid.Bool().Draw(t, "in force") {
				of.Status.Domain = domains.Draw(t, "has")
			}
			if i == 3 && rapid.Bool().Draw(t, "deleted") {
				deleted(of)
			}
			d.Tenants = append(d.Tenants, of)
		}
		decide := func() (changed bool) {
			for _, of := range rapid.Permutation(d.Tenants).Draw(t, "order") {
				if of.DeletionTimestamp != nil {
					continue
				}
				next := of.Spec.Domain
				if d.Refused(of) != nil {
					next = ""
				}
				changed = changed || next != of.Status.Domain
				of.Status.Domain = next
			}
			return changed
		}
		for rounds := 0; decide(); rounds++ {
			if rounds > len(d.Tenants) {
				t.Fatal("it goes on changing")
			}
		}
		for _, a := range d.Tenants {
			for _, b := range d.Tenants {
				if x, y := a.ReservedDomain(), b.ReservedDomain(); a != b && x != "" && y != "" && (v1alpha1.IsUnder(x, y) || v1alpha1.IsUnder(y, x)) {
					t.Fatalf("%s has %q and %s has %q", a.Name, x, b.Name, y)
				}
			}
		}
	})
}

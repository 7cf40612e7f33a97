package ingress

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func claimant(namespace, name string, created int, hosts ...string) *v1alpha1.Ingress {
	return &v1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         namespace,
			Name:              name,
			CreationTimestamp: metav1.NewTime(time.Unix(int64(created), 0)),
			Annotations:       map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{{Hosts: hosts}}},
	}
}

func claimsOf(t interface{ Fatal(...any) }, tenants []*sluicev1alpha1.Tenant, ingresses ...*v1alpha1.Ingress) *claims {
	indexer := func() cache.Indexer { return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}) }
	c, err := newClaims(indexer(), indexer(), indexer())
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range tenants {
		if err := c.tenants.Add(tenant); err != nil {
			t.Fatal(err)
		}
	}
	for _, ing := range ingresses {
		if err := c.ingresses.Add(ing); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func tenantOf(name, domain string, created int, namespaces ...string) *sluicev1alpha1.Tenant {
	tenant := &sluicev1alpha1.Tenant{}
	tenant.Name, tenant.Status.Domain, tenant.CreationTimestamp = name, domain, metav1.NewTime(time.Unix(int64(created), 0))
	for _, namespace := range namespaces {
		tenant.Status.Namespaces = append(tenant.Status.Namespaces, sluicev1alpha1.TenantNamespace{Name: namespace, Phase: sluicev1alpha1.NamespaceHeld})
	}
	return tenant
}

func TestClaims(t *testing.T) {
	first := claimant("a", "first", 1, "taken.example.com")
	foreign := claimant("z", "foreign", 0, "free.example.com")
	foreign.Annotations = map[string]string{networking.IngressClassAnnotationKey: "another"}
	served := claimant("z", "served", 5, "same.example.com")
	served.Status.MarkNetworkConfigured()
	uncertified := claimant("z", "uncertified", 6, "uncertified.example.com")
	uncertified.Status.MarkLoadBalancerReady(nil, nil)
	squatter := claimant("z", "squatter", 0, "x.acme.example")
	refused, left := tenantOf("refused", "", 0), tenantOf("left", "left.example", 0, "n")
	refused.Spec.Domain = "example.com"
	gone := metav1.NewTime(time.Unix(9, 0))
	left.DeletionTimestamp = &gone
	tenants := []*sluicev1alpha1.Tenant{
		tenantOf("acme", "acme.example", 1, "a", "a2"), tenantOf("late", "sub.acme.example", 2, "l"), tenantOf("rival", "", 1, "r"), refused, left,
	}

	for _, test := range []struct {
		name string
		ing  *v1alpha1.Ingress
		want string // part of the error; "" for none
		not  string
	}{
		{name: "the first keeps it", ing: first},
		{name: "another namespace's", ing: claimant("b", "second", 2, "taken.example.com"), want: `"taken.example.com"`, not: "first"},
		{name: "another tenant's", ing: claimant("r", "second", 2, "taken.example.com"), want: `"taken.example.com"`, not: "first"},
		{name: "the same namespace's", ing: claimant("a", "second", 2, "taken.example.com"), want: "Ingress first"},
		{name: "the same tenant's", ing: claimant("a2", "second", 2, "taken.example.com"), want: "Ingress first of namespace a"},
		{name: "one of several", ing: claimant("b", "second", 2, "ok.example.com", "taken.example.com"), want: `"taken.example.com"`},
		{name: "another class holds nothing", ing: claimant("b", "second", 2, "free.example.com")},
		{name: "of the same second the one that is served", ing: claimant("b", "b", 5, "same.example.com"), want: "held"},
		{name: "be it without its certificate", ing: claimant("b", "b", 6, "uncertified.example.com"), want: "held"},
		{name: "no host", ing: claimant("b", "second", 2), want: "rules[0].hosts"},
		{name: "every host", ing: claimant("b", "second", 2, "*"), want: "not a host name"},
		{name: "every host of a domain", ing: claimant("b", "second", 2, "*.example.com"), want: "not a host name"},
		{name: "no domain", ing: claimant("b", "second", 2, "istiod"), want: "no domain"},
		{name: "a probe's host", ing: claimant("b", "second", 2, gateway.ProbeHost("shared")), want: "reserved"},
		{name: "its own Service's name", ing: claimant("b", "second", 2, "svc.b.svc.cluster.local", "svc.b.svc")},
		{name: "another's Service's name", ing: claimant("b", "second", 2, "svc.a.svc.cluster.local"), want: "Service"},
		{name: "and the short one", ing: claimant("b", "second", 2, "svc.a.svc"), want: "Service"},
		{name: "all of a namespace", ing: claimant("b", "second", 2, "b.svc.cluster.local"), want: "Service"},
		{name: "svc in the middle is none", ing: claimant("b", "second", 2, "api.svc.example.com")},
		{name: "its tenant's domain", ing: claimant("a", "second", 2, "acme.example", "x.acme.example", "x.y.acme.example")},
		{name: "though another came first", ing: squatter, want: "domain of a Tenant", not: "acme\""},
		{name: "a tenant without that domain", ing: claimant("r", "second", 2, "x.acme.example"), want: "domain of a Tenant"},
		{name: "a domain that is asked for and not in force", ing: claimant("b", "second", 2, "x.example.com")},
		{name: "the domain of a tenant that is being deleted", ing: claimant("b", "second", 2, "x.left.example")},
		{name: "a name that only ends like it", ing: claimant("b", "second", 2, "x.notacme.example")},
		{name: "a tenant whose domain came later within it", ing: claimant("l", "second", 2, "x.sub.acme.example"), want: "domain of a Tenant"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := claimsOf(t, tenants, first, foreign, served, uncertified, squatter, test.ing).check(test.ing)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case test.not != "" && strings.Contains(err.Error(), test.not):
				t.Errorf("%v tells another tenant's %q", err, test.not)
			}
		})
	}
}

// Whoever names which hosts, no host is granted to two and none of a tenant's domain
// to another's namespace; and if anyone asks for nothing but what he may have,
// somebody is granted it.
func TestClaimsAreExclusive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.SampledFrom([]string{"a.example", "b.example", "c.acme.example", "acme.example"})
		tenant := tenantOf("acme", "acme.example", 0, "ns0")
		var all []*v1alpha1.Ingress
		entitled := false
		for i := range rapid.IntRange(1, 6).Draw(t, "ingresses") {
			ing := claimant(fmt.Sprint("ns", i%3), fmt.Sprint("ing", i), rapid.IntRange(0, 3).Draw(t, "created"),
				rapid.SliceOfN(hosts, 1, 3).Draw(t, "hosts")...)
			if rapid.Bool().Draw(t, "served") {
				ing.Status.MarkNetworkConfigured()
			}
			all = append(all, ing)
			entitled = entitled || tenant.Holds(ing.Namespace) || !slices.ContainsFunc(hostsOf(ing), ofDomain)
		}
		c := claimsOf(t, []*sluicev1alpha1.Tenant{tenant}, all...)
		granted := map[string]string{}
		for _, ing := range all {
			if c.check(ing) != nil {
				continue
			}
			for _, host := range hostsOf(ing) {
				if other, taken := granted[host]; taken {
					t.Fatalf("host %s is granted to %s and %s", host, other, ing.Name)
				}
				if ofDomain(host) && !tenant.Holds(ing.Namespace) {
					t.Fatalf("host %s is granted to namespace %s", host, ing.Namespace)
				}
				granted[host] = ing.Name
			}
		}
		if entitled && len(granted) == 0 {
			t.Fatal("nobody was granted anything")
		}
	})
}

func ofDomain(host string) bool { return strings.HasSuffix(host, "acme.example") }

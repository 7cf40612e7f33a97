package ingress

import (
	"fmt"
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

func claimsOf(t interface{ Fatal(...any) }, ingresses ...*v1alpha1.Ingress) *claims {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	c, err := newClaims(indexer)
	if err != nil {
		t.Fatal(err)
	}
	for _, ing := range ingresses {
		if err := indexer.Add(ing); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestClaims(t *testing.T) {
	first := claimant("a", "first", 1, "taken.example.com")
	foreign := claimant("z", "foreign", 0, "free.example.com")
	foreign.Annotations = map[string]string{networking.IngressClassAnnotationKey: "another"}
	served := claimant("z", "served", 5, "same.example.com")
	served.Status.MarkNetworkConfigured()

	for _, test := range []struct {
		name string
		ing  *v1alpha1.Ingress
		want string // part of the error; "" for none
		not  string
	}{
		{name: "the first keeps it", ing: first},
		{name: "another namespace's", ing: claimant("b", "second", 2, "taken.example.com"), want: `"taken.example.com"`, not: "first"},
		{name: "the same namespace's", ing: claimant("a", "second", 2, "taken.example.com"), want: "Ingress first"},
		{name: "one of several", ing: claimant("b", "second", 2, "ok.example.com", "taken.example.com"), want: `"taken.example.com"`},
		{name: "another class holds nothing", ing: claimant("b", "second", 2, "free.example.com")},
		{name: "of the same second the one that is served", ing: claimant("b", "b", 5, "same.example.com"), want: "held"},
		{name: "no host", ing: claimant("b", "second", 2), want: "rules[0].hosts"},
		{name: "every host", ing: claimant("b", "second", 2, "*"), want: "not a host name"},
		{name: "no domain", ing: claimant("b", "second", 2, "istiod"), want: "no domain"},
		{name: "a probe's host", ing: claimant("b", "second", 2, gateway.ProbeHost("shared")), want: "reserved"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := claimsOf(t, first, foreign, served, test.ing).check(test.ing)
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

// Whoever names which hosts, no host is granted to two, and each that is named
// has one who is granted it or stands before another that isn't.
func TestClaimsAreExclusive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.SampledFrom([]string{"a.example", "b.example", "c.example"})
		var all []*v1alpha1.Ingress
		for i := range rapid.IntRange(1, 6).Draw(t, "ingresses") {
			ing := claimant(fmt.Sprint("ns", i%3), fmt.Sprint("ing", i), rapid.IntRange(0, 3).Draw(t, "created"),
				rapid.SliceOfN(hosts, 1, 3).Draw(t, "hosts")...)
			if rapid.Bool().Draw(t, "served") {
				ing.Status.MarkNetworkConfigured()
			}
			all = append(all, ing)
		}
		c := claimsOf(t, all...)
		granted := map[string]string{}
		for _, ing := range all {
			if c.check(ing) != nil {
				continue
			}
			for _, host := range hostsOf(ing) {
				if other, taken := granted[host]; taken {
					t.Fatalf("host %s is granted to %s and %s", host, other, ing.Name)
				}
				granted[host] = ing.Name
			}
		}
		if len(granted) == 0 {
			t.Fatal("nobody was granted anything")
		}
	})
}

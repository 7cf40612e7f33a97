package resources

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func TestDoubts(t *testing.T) {
	leaf := &x509.Certificate{
		DNSNames: []string{"a.example.com", "*.b.example.com"}, NotBefore: noon, NotAfter: noon.Add(time.Hour),
	}
	for _, test := range []struct {
		at    time.Time
		hosts []string
		want  string
	}{
		{noon.Add(time.Minute), []string{"a.example.com", "x.b.example.com"}, ""},
		{noon.Add(time.Minute), []string{"a.example.com", "c.example.com"}, `it is not for host "c.example.com"`},
		{noon.Add(2 * time.Hour), []string{"a.example.com"}, "it expired at 2030-01-01T13:00:00Z"},
		{noon.Add(-time.Hour), []string{"a.example.com"}, "it is not valid before 2030-01-01T12:00:00Z"},
	} {
		if got := Doubts(leaf, test.hosts, test.at); got != test.want {
			t.Errorf("doubts %q of %q, want %q", got, test.hosts, test.want)
		}
	}
}

func secured(entries ...v1alpha1.IngressTLS) *v1alpha1.Ingress {
	return &v1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker"},
		Spec: v1alpha1.IngressSpec{TLS: entries, Rules: []v1alpha1.IngressRule{
			{Hosts: []string{"b.example.com", "a.example.com"}},
			{Hosts: []string{"a.team.svc.cluster.local"}, Visibility: v1alpha1.IngressVisibilityClusterLocal},
		}},
	}
}

func TestCertificates(t *testing.T) {
	entry := func(secret string, hosts ...string) v1alpha1.IngressTLS {
		return v1alpha1.IngressTLS{SecretName: secret, SecretNamespace: "team", Hosts: hosts}
	}
	for _, test := range []struct {
		name    string
		tls     []v1alpha1.IngressTLS
		want    []Certificate
		problem string
	}{
		{name: "none"},
		{
			name: "a host each", tls: []v1alpha1.IngressTLS{entry("x", "b.example.com"), entry("y", "a.example.com")},
			want: []Certificate{{"spec.tls[0]", "x", []string{"b.example.com"}}, {"spec.tls[1]", "y", []string{"a.example.com"}}},
		},
		{
			name: "no hosts are all for callers outside", tls: []v1alpha1.IngressTLS{entry("x")},
			want: []Certificate{{"spec.tls[0]", "x", []string{"a.example.com", "b.example.com"}}},
		},
		{
			name: "a Secret named twice", tls: []v1alpha1.IngressTLS{entry("x", "b.example.com"), entry("x", "a.example.com")},
			want: []Certificate{{"spec.tls[0]", "x", []string{"a.example.com", "b.example.com"}}},
		},
		{
			name: "a host named twice", tls: []v1alpha1.IngressTLS{entry("x", "a.example.com"), entry("y", "a.example.com")},
			want: []Certificate{{"spec.tls[0]", "x", []string{"a.example.com"}}},
		},
		{
			name: "somebody else's host", tls: []v1alpha1.IngressTLS{entry("x", "a.example.com", "bank.example.com")},
			want: []Certificate{{"spec.tls[0]", "x", []string{"a.example.com"}}}, problem: `spec.tls[0].hosts: "bank.example.com"`,
		},
		{
			name: "a host for callers inside", tls: []v1alpha1.IngressTLS{entry("x", "a.team.svc.cluster.local")},
			problem: `spec.tls[0].hosts: "a.team.svc.cluster.local"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, problem := Certificates(secured(test.tls...))
			if diff := cmp.Diff(test.want, got); diff != "" && len(test.want)+len(got) > 0 {
				t.Errorf("-want +got:\n%s", diff)
			}
			switch {
			case test.problem == "" && problem != nil:
				t.Errorf("problem %+v", problem)
			case test.problem != "" && (problem == nil || !strings.Contains(problem.Message, test.problem)):
				t.Errorf("problem %+v, want %s", problem, test.problem)
			}
		})
	}
}

func TestForeignSecretsAreRefused(t *testing.T) {
	own := v1alpha1.IngressTLS{SecretName: "x", SecretNamespace: "team"}
	if err := CheckSecrets(secured(own)); err != nil {
		t.Error(err)
	}
	err := CheckSecrets(secured(own, v1alpha1.IngressTLS{SecretName: "x", SecretNamespace: "bank"}))
	if err == nil || !strings.Contains(err.Error(), "spec.tls[1].secretNamespace") {
		t.Errorf("got %v", err)
	}
}

func TestSecureGatewayGolden(t *testing.T) {
	ing := secured(v1alpha1.IngressTLS{SecretName: "x", Hosts: []string{"b.example.com"}}, v1alpha1.IngressTLS{SecretName: "y", Hosts: []string{"a.example.com"}})
	certificates, _ := Certificates(ing)
	got, err := yaml.Marshal(SecureGateway(ing, "acme", gateway.OfTenant("acme"), certificates))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/secure-gateway.out.yaml", got)
}

func TestHolding(t *testing.T) {
	ing := secured()
	const a, b = "a.example.com", "b.example.com"
	of := func(secret string, hosts ...string) Certificate { return Certificate{Secret: secret, Hosts: hosts} }
	for _, test := range []struct {
		name                 string
		shown, desired, want []Certificate
	}{
		{"nothing goes", []Certificate{of("x", a)}, []Certificate{of("x", a, b)}, []Certificate{of("x", a, b)}},
		{"a host goes", []Certificate{of("x", a, b)}, []Certificate{of("x", b)}, []Certificate{of("x", a, b)}},
		{"a certificate goes", []Certificate{of("y", a), of("x", b)}, []Certificate{of("x", b)}, []Certificate{of("x", b), of("y", a)}},
		{"a host gets another certificate", []Certificate{of("x", a, b)}, []Certificate{of("x", a), of("y", b)}, []Certificate{of("x", a), of("y", b)}},
		{"two change places", []Certificate{of("x", a), of("y", b)}, []Certificate{of("x", b), of("y", a)}, []Certificate{of("x", b), of("y", a)}},
		{"a host that the Ingress has no more", []Certificate{of("x", "former.example.com", a)}, []Certificate{of("x", a)}, []Certificate{of("x", a)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			gatewayOf := func(certificates []Certificate) *istiov1.Gateway {
				return SecureGateway(ing, "", gateway.Shared, certificates)
			}
			shown, desired := gatewayOf(test.shown), gatewayOf(test.desired)
			got := Holding(desired, shown, ExternalHosts(ing))
			if diff := cmp.Diff(gatewayOf(test.want), got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(gatewayOf(test.shown), shown, protocmp.Transform()); diff != "" {
				t.Errorf("what is shown was changed:\n%s", diff)
			}
		})
	}
}

// Whatever Ingresses and Secrets are called, no two copies share a name, nor does
// one have the name of a tenant's, which holds no dot.
func TestCopiesHaveNamesOfTheirOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[a-c]{1,2}`)
		name := rapid.StringMatching(`[a-c]{1,2}(\.[a-c-]{0,3}[a-c]){0,2}`)
		type origin struct{ namespace, ingress, secret string }
		made := map[string]origin{}
		for i := range 20 {
			of := origin{label.Draw(t, fmt.Sprint("namespace", i)), name.Draw(t, fmt.Sprint("ingress", i)), name.Draw(t, fmt.Sprint("secret", i))}
			copied := CopyName(gateway.VirtualServiceName(of.namespace, of.ingress), of.secret)
			if !strings.Contains(copied, ".") {
				t.Fatalf("copy %s could be a tenant's", copied)
			}
			if other, taken := made[copied]; taken && other != of {
				t.Fatalf("%+v and %+v share copy %s", of, other, copied)
			}
			made[copied] = of
		}
	})
}

package resources

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// secretOf is a Secret with a certificate for hosts, good for an hour from noon on,
// by a key.
func secretOf(t *testing.T, key crypto.Signer, hosts ...string) *corev1.Secret {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: noon, NotAfter: noon.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}}
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestParsePair(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	good := secretOf(t, ecKey(t, elliptic.P256()), "a.example.com")
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string, change func([]byte) []byte) *corev1.Secret {
		changed := good.DeepCopy()
		changed.Data[key] = change(changed.Data[key])
		return changed
	}
	for _, test := range []struct {
		name   string
		secret *corev1.Secret
		want   string // part of the error; "" for none
	}{
		{"ECDSA on P-256", good, ""},
		{"ECDSA on P-384", secretOf(t, ecKey(t, elliptic.P384())), ""},
		{"RSA of 2048 bits", secretOf(t, rsaKey(t, 2048)), ""},
		{"text between", with(corev1.TLSCertKey, func(b []byte) []byte { return append([]byte("bought at X\n"), b...) }), ""},
		{"the key before it", with(corev1.TLSCertKey, func(b []byte) []byte {
			return append(append([]byte{}, good.Data[corev1.TLSPrivateKeyKey]...), b...)
		}), ""},
		{"a chain", with(corev1.TLSCertKey, func(b []byte) []byte {
			return append(b, secretOf(t, ecKey(t, elliptic.P256())).Data[corev1.TLSCertKey]...)
		}), ""},
		{"empty", &corev1.Secret{}, "tls.crt"},
		{"no certificate", with(corev1.TLSCertKey, func([]byte) []byte { return []byte("not a certificate") }), "tls.crt"},
		{"no key", with(corev1.TLSPrivateKeyKey, func([]byte) []byte { return nil }), "tls.key"},
		{"another's key", with(corev1.TLSPrivateKeyKey, func([]byte) []byte {
			return secretOf(t, ecKey(t, elliptic.P256())).Data[corev1.TLSPrivateKeyKey]
		}), "does not match"},
		{"a broken chain", with(corev1.TLSCertKey, func(b []byte) []byte {
			return append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("broken")})...)
		}), "certificate 2"},
		{"RSA of 1024 bits", secretOf(t, rsaKey(t, 1024)), "2048"},
		{"ECDSA on P-224", secretOf(t, ecKey(t, elliptic.P224())), "P-256"},
		{"Ed25519", secretOf(t, edwards), "P-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pair, err := ParsePair(test.secret)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want %q", err, test.want)
				}
				if key := test.secret.Data[corev1.TLSPrivateKeyKey]; len(key) > 0 && strings.Contains(err.Error(), string(key)) {
					t.Error("the error tells the key")
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			copied := SecretCopy(&v1alpha1.Ingress{}, "", Certificate{}, pair)
			again, err := tls.X509KeyPair(copied.Data[corev1.TLSCertKey], copied.Data[corev1.TLSPrivateKeyKey])
			if err != nil {
				t.Fatal("the copy:", err)
			}
			if got, want := FingerprintOf(copied), Fingerprint(again.Leaf); got != want || got != FingerprintOf(test.secret) {
				t.Errorf("fingerprint %s of the copy, %s of the Secret, want %s", got, FingerprintOf(test.secret), want)
			}
		})
	}
}

func TestDoubts(t *testing.T) {
	pair, err := ParsePair(secretOf(t, ecKey(t, elliptic.P256()), "a.example.com", "*.b.example.com"))
	if err != nil {
		t.Fatal(err)
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
		if got := pair.Doubts(test.hosts, test.at); got != test.want {
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

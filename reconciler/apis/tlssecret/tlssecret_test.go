package tlssecret

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// secretOf is a Secret with a certificate for a.example.com by a key, changed.
func secretOf(t *testing.T, key crypto.Signer, changes ...func(*x509.Certificate)) *corev1.Secret {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(3600, 0),
	}
	for _, change := range changes {
		change(template)
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
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
		"ca.crt":                []byte("not for gateways"),
	}}
}

func usage(of x509.KeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.KeyUsage = of }
}

func named(change func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames = nil
		change(c)
	}
}

// feature adds TLS features.
func feature(t *testing.T, features ...int) func(*x509.Certificate) {
	t.Helper()
	value, err := asn1.Marshal(features)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: value}}
	}
}

// What is refused is what Envoy 1.40 was seen to refuse, and kinds of keys that
// browsers or Go do.
func TestParse(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	p256 := ecKey(t, elliptic.P256())
	good, other := secretOf(t, p256), secretOf(t, ecKey(t, elliptic.P256()))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string, value ...[]byte) *corev1.Secret {
		changed := good.DeepCopy()
		changed.Data[key] = bytes.Join(value, nil)
		return changed
	}
	crt, key := good.Data[corev1.TLSCertKey], good.Data[corev1.TLSPrivateKeyKey]
	notDER := pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: []byte("broken")})
	for _, test := range []struct {
		name   string
		secret *corev1.Secret
		want   string // of the error; "" for none
	}{
		{"ECDSA on P-256", good, ""},
		{"ECDSA on P-384", secretOf(t, ecKey(t, elliptic.P384())), ""},
		{"ECDSA on P-521", secretOf(t, ecKey(t, elliptic.P521())), ""},
		{"RSA of 2048 bits", secretOf(t, rsaKey(t, 2048)), ""},
		{"text between", with(corev1.TLSCertKey, []byte("bought at X\n"), crt), ""},
		{"the key before it", with(corev1.TLSCertKey, key, crt), ""},
		{"a chain", with(corev1.TLSCertKey, crt, other.Data[corev1.TLSCertKey]), ""},
		{"to sign with", secretOf(t, p256, usage(x509.KeyUsageDigitalSignature)), ""},
		{"RSA that isn't to sign with", secretOf(t, rsaKey(t, 2048), usage(x509.KeyUsageKeyEncipherment)), ""},
		{"a common name alone", secretOf(t, p256, named(func(c *x509.Certificate) { c.Subject.CommonName = "a.example.com" })), ""},
		{"an address", secretOf(t, p256, named(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} })), ""},
		{"another TLS feature", secretOf(t, p256, feature(t, 17)), ""},

		{"empty", &corev1.Secret{}, "reading tls.crt: it holds no certificate in PEM"},
		{"no certificate", with(corev1.TLSCertKey, []byte("not a certificate")), "reading tls.crt: it holds no certificate in PEM"},
		{"a key in its place", with(corev1.TLSCertKey, key), "reading tls.crt: it holds no certificate in PEM"},
		{"a broken certificate", with(corev1.TLSCertKey, notDER), "reading tls.crt: certificate 1: "},
		{"a broken chain", with(corev1.TLSCertKey, crt, notDER), "reading tls.crt: certificate 2: "},
		{"no key", with(corev1.TLSPrivateKeyKey), "reading tls.key: "},
		{"a broken key", with(corev1.TLSPrivateKeyKey, []byte("none")), "reading tls.key: "},
		{"another's key", with(corev1.TLSPrivateKeyKey, other.Data[corev1.TLSPrivateKeyKey]), "reading tls.key: tls: private key does not match"},
		{"RSA of 1024 bits", secretOf(t, rsaKey(t, 1024)), "reading tls.crt: the certificate's key is RSA of 1024 bits, and must be RSA of 2048"},
		{"ECDSA on P-224", secretOf(t, ecKey(t, elliptic.P224())), "reading tls.crt: the certificate's key is ECDSA on P-224, "},
		{"Ed25519", secretOf(t, edwards), "reading tls.crt: the certificate's key is Ed25519, "},
		{"not to sign with", secretOf(t, p256, usage(x509.KeyUsageKeyAgreement)), "reading tls.crt: the certificate's key usage "},
		{"no name", secretOf(t, p256, named(func(*x509.Certificate) {})), "reading tls.crt: the certificate names no host"},
		{"must-staple", secretOf(t, p256, feature(t, 5)), "reading tls.crt: the certificate demands stapled OCSP responses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pair, err := Parse(test.secret)
			switch {
			case test.want != "":
				checkRefusal(t, test.secret, err, test.want)
			case err != nil:
				t.Fatal(err)
			default:
				checkCopy(t, test.secret, pair)
			}
		})
	}
}

func checkRefusal(t *testing.T, secret *corev1.Secret, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	if key := secret.Data[corev1.TLSPrivateKeyKey]; len(key) > 10 && strings.Contains(err.Error(), string(key)) {
		t.Error("the error tells the key")
	}
}

// checkCopy checks that what is written shows the same certificate.
func checkCopy(t *testing.T, secret *corev1.Secret, pair Pair) {
	t.Helper()
	copied := &corev1.Secret{Data: pair.Data()}
	again, err := tls.X509KeyPair(copied.Data[corev1.TLSCertKey], copied.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal("the copy:", err)
	}
	if len(copied.Data) != 2 {
		t.Errorf("the copy holds more than the pair: %d keys", len(copied.Data))
	}
	want := Fingerprint(again.Leaf)
	for of, got := range map[string]string{"the copy": FingerprintOf(copied), "the Secret": FingerprintOf(secret), "the leaf": Fingerprint(pair.Leaf)} {
		if got != want {
			t.Errorf("fingerprint of %s is %s, want %s", of, got, want)
		}
	}
}

package tenant

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// certificate makes a Secret with a certificate of its own making for the tenant's
// domain.
func certificate(until time.Time) *corev1.Secret {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return certificateBy(key, until)
}

// certificateBy makes one by a key of any kind.
func certificateBy(key crypto.Signer, until time.Time) *corev1.Secret {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.search.search.example.com"},
		NotBefore: start.Add(-24 * time.Hour), NotAfter: until,
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "tls"},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}
}

// secretCopy is the copy of such a Secret, as gateways read it.
func secretCopy(secret *corev1.Secret) *corev1.Secret {
	pair, err := tlssecret.Parse(secret)
	if err != nil {
		panic(err)
	}
	return resources.SecretCopy(resting(), pair)
}

// Package tlssecret reads what gateways are to show from Secrets of type
// kubernetes.io/tls: one check for all certificates, whoever brings them.
package tlssecret

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

const certificateBlock = "CERTIFICATE"

// Pair is a certificate, with those that it is signed by, and its key.
type Pair struct {
	Leaf *x509.Certificate
	// Chain begins with Leaf. Chain and Key are PEM.
	Chain, Key []byte
}

// Parse reads the pair of a Secret. One that Envoy would refuse is an error, which
// names the Secret's key that has to change: the gateway could take no other change
// before it.
func Parse(secret *corev1.Secret) (Pair, error) {
	chain, err := parseChain(secret.Data[corev1.TLSCertKey])
	if err == nil {
		err = servable(chain[0])
	}
	if err != nil {
		return Pair{}, fmt.Errorf("reading %s: %w", corev1.TLSCertKey, err)
	}
	// Written anew, so that what was understood here is all that Envoy has to
	// understand.
	pair := Pair{Leaf: chain[0]}
	for _, certificate := range chain {
		pair.Chain = append(pair.Chain, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: certificate.Raw})...)
	}
	parsed, err := tls.X509KeyPair(pair.Chain, secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil { // of the key: the certificate has been read
		return Pair{}, fmt.Errorf("reading %s: %w", corev1.TLSPrivateKeyKey, err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(parsed.PrivateKey)
	if err != nil {
		return Pair{}, fmt.Errorf("writing %s: %w", corev1.TLSPrivateKeyKey, err)
	}
	pair.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return pair, nil
}

// Data is that of a Secret with the pair and nothing else.
func (p Pair) Data() map[string][]byte {
	return map[string][]byte{corev1.TLSCertKey: p.Chain, corev1.TLSPrivateKeyKey: p.Key}
}

// parseChain reads certificates, at least one, and skips what is around them.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for der := range certificates(data) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return chain, nil
}

// certificates yields what is in each PEM block of a certificate.
func certificates(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == certificateBlock && !yield(block.Bytes) {
				return
			}
		}
	}
}

// servable says why Envoy would refuse a certificate, or our own prober the
// connection, if one would.
func servable(leaf *x509.Certificate) error {
	kind, ok := keyOf(leaf)
	_, ecc := leaf.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok:
		return fmt.Errorf("the certificate's key is %s, and must be RSA of 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521", kind)
	case ecc && leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("the certificate's key usage leaves out digitalSignature, without which an ECDSA key can't be used")
	case leaf.Subject.CommonName == "" && len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs) == 0:
		return errors.New("the certificate names no host: it needs a subject alternative name")
	case mustStaple(leaf):
		return errors.New("the certificate demands stapled OCSP responses (must-staple), which gateways don't have; ask for one that doesn't")
	}
	return nil
}

// keyOf says what kind of key a certificate has, and whether it is one that is
// served. These are the kinds that publicly trusted certificates may have, by 6.1.5
// of the CA/Browser Forum's Baseline Requirements, and that Go's TLS takes, in
// which the prober is written: browsers refuse others that Envoy would take.
func keyOf(leaf *x509.Certificate) (kind string, ok bool) {
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return fmt.Sprintf("RSA of %d bits", bits), bits >= 2048 && bits <= 8192
	case *ecdsa.PublicKey:
		return "ECDSA on " + key.Curve.Params().Name,
			slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve)
	}
	return leaf.PublicKeyAlgorithm.String(), false
}

// mustStaple tells whether a certificate has the TLS feature status_request, by
// RFC 7633.
func mustStaple(leaf *x509.Certificate) bool {
	const statusRequest = 5
	for _, extension := range leaf.Extensions {
		var features []int
		if extension.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			_, err := asn1.Unmarshal(extension.Value, &features)
			return err != nil || slices.Contains(features, statusRequest)
		}
	}
	return false
}

// Fingerprint is that of a certificate, in hexadecimal.
func Fingerprint(certificate *x509.Certificate) string { return fingerprint(certificate.Raw) }

// FingerprintOf is that of the first certificate of a Secret, which is the one that
// is shown; "" if there is none.
func FingerprintOf(secret *corev1.Secret) string {
	for der := range certificates(secret.Data[corev1.TLSCertKey]) {
		return fingerprint(der)
	}
	return ""
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

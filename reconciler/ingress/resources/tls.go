package resources

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Problem is why part of what an Ingress asks for isn't served. The rest is.
type Problem struct {
	// Reason is a condition's.
	Reason string
	// Message names the field and what to do.
	Message string
}

// Certificate is what an Ingress brings to serve some of its hosts over HTTPS.
type Certificate struct {
	// Field is where the Ingress first names it, such as "spec.tls[0]".
	Field string
	// Secret is its name, in the Ingress' namespace.
	Secret string
	// Hosts are of external rules, sorted; no host is in two Certificates.
	Hosts []string
}

// CheckSecrets returns an error if an Ingress names a Secret of another namespace.
func CheckSecrets(ing *v1alpha1.Ingress) error {
	for i, entry := range ing.Spec.TLS {
		if entry.SecretNamespace != ing.Namespace {
			return fmt.Errorf("spec.tls[%d].secretNamespace is %q: only a Secret of namespace %q, the Ingress' own, can be used; put it there",
				i, entry.SecretNamespace, ing.Namespace)
		}
	}
	return nil
}

// Certificates returns one Certificate for each Secret of spec.tls, in its order,
// and why the first of the hosts given there can't be served that can't. A host
// that two Secrets are named for is the first's.
func Certificates(ing *v1alpha1.Ingress) ([]Certificate, *Problem) {
	var certificates []Certificate
	var problem *Problem
	external, given := ExternalHosts(ing), sets.New[string]()
	for i, entry := range ing.Spec.TLS {
		field := fmt.Sprintf("spec.tls[%d]", i)
		hosts := sets.New(entry.Hosts...)
		if len(entry.Hosts) == 0 {
			hosts.Insert(external...)
		}
		for _, host := range sets.List(hosts) {
			if !slices.Contains(external, host) {
				if problem == nil {
					problem = &Problem{Reason: "HostNotSecured", Message: fmt.Sprintf("%s.hosts: %q is in no rule for callers outside "+
						"the cluster, and only those are served over HTTPS; remove it, or add such a rule", field, host)}
				}
				hosts.Delete(host)
			}
		}
		hosts = hosts.Difference(given)
		given = given.Union(hosts)
		certificates = add(certificates, Certificate{Field: field, Secret: entry.SecretName, Hosts: sets.List(hosts)})
	}
	return slices.DeleteFunc(certificates, func(c Certificate) bool { return len(c.Hosts) == 0 }), problem
}

// add appends a Certificate, or its hosts to those of the same Secret.
func add(certificates []Certificate, c Certificate) []Certificate {
	i := slices.IndexFunc(certificates, func(other Certificate) bool { return other.Secret == c.Secret })
	if i < 0 {
		return append(certificates, c)
	}
	certificates[i].Hosts = sets.List(sets.New(certificates[i].Hosts...).Insert(c.Hosts...))
	return certificates
}

// CopyName is the name, in the gateways' namespace, of the copy of a Secret that
// the Ingress of a VirtualService names. What stands behind its last dot holds
// none, so no two Ingresses' copies share a name.
func CopyName(virtualService, secret string) string {
	return virtualService + ".tls-" + shortDigest(secret)
}

func shortDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Pair is a certificate, with those that it is signed by, and its key.
type Pair struct {
	Leaf *x509.Certificate
	// chain and key are PEM.
	chain, key []byte
}

// ParsePair reads the pair of a Secret of type kubernetes.io/tls. One that Envoy
// would refuse is an error: the gateway could take no other change before it.
func ParsePair(secret *corev1.Secret) (Pair, error) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return Pair{}, fmt.Errorf("reading %s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if !supported(pair.Leaf) {
		return Pair{}, errors.New("the key must be RSA of at least 2048 bits, or ECDSA on P-256, P-384 or P-521")
	}
	// Written anew, so that what was understood here is all that Envoy has to
	// understand.
	var chain bytes.Buffer
	for i, der := range pair.Certificate {
		if _, err := x509.ParseCertificate(der); err != nil {
			return Pair{}, fmt.Errorf("reading certificate %d of %s: %w", i+1, corev1.TLSCertKey, err)
		}
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return Pair{}, fmt.Errorf("writing certificate %d: %w", i+1, err)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return Pair{}, fmt.Errorf("writing the key: %w", err)
	}
	return Pair{Leaf: pair.Leaf, chain: chain.Bytes(), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}, nil
}

// supported tells whether Envoy takes a certificate's kind of key.
func supported(leaf *x509.Certificate) bool {
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	}
	return false
}

// Doubts says what clients will object to in a pair that serves hosts. It is
// served all the same: whether it suits them is for the one who brought it.
func (p Pair) Doubts(hosts []string, now time.Time) string {
	var doubts []string
	if now.After(p.Leaf.NotAfter) {
		doubts = append(doubts, "it expired at "+p.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(p.Leaf.NotBefore) {
		doubts = append(doubts, "it is not valid before "+p.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	for _, host := range hosts {
		if p.Leaf.VerifyHostname(host) != nil {
			doubts = append(doubts, fmt.Sprintf("it is not for host %q", host))
		}
	}
	return strings.Join(doubts, ", ")
}

// Fingerprint is that of a certificate, in hexadecimal.
func Fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// FingerprintOf is that of the first certificate of a Secret of type
// kubernetes.io/tls, which is the one that is shown; "" if there is none.
func FingerprintOf(secret *corev1.Secret) string {
	for rest := secret.Data[corev1.TLSCertKey]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return ""
		}
		if block.Type == "CERTIFICATE" {
			sum := sha256.Sum256(block.Bytes)
			return hex.EncodeToString(sum[:])
		}
	}
}

// SecretCopy returns the copy of a pair that the gateways read: the pair and
// nothing else that the Secret may hold.
func SecretCopy(ing *v1alpha1.Ingress, tenant string, certificate Certificate, pair Pair) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:      CopyName(gateway.VirtualServiceName(ing.Namespace, ing.Name), certificate.Secret),
			Namespace: gateway.Namespace,
			Labels:    Labels(ing, tenant),
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pair.chain, corev1.TLSPrivateKeyKey: pair.key},
	}
}

// SecureGateway returns the Istio Gateway by which a gateway, on, serves the hosts
// of certificates over HTTPS, each Secret's by a server of its own. A certificate
// that is renewed changes nothing of it.
func SecureGateway(ing *v1alpha1.Ingress, tenant, on string, certificates []Certificate) *istiov1.Gateway {
	owner := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	out := &istiov1.Gateway{
		ObjectMeta: metav1.ObjectMeta{
			Name:      gateway.SecureName(owner, on),
			Namespace: gateway.Namespace,
			Labels:    Labels(ing, tenant),
		},
		Spec: istioapi.Gateway{Selector: map[string]string{gateway.LabelKey: on}},
	}
	for _, certificate := range certificates {
		server := &istioapi.Server{
			// The name is part of that of the server's routes.
			Port: &istioapi.Port{
				Number: gateway.Secure.Port, Name: gateway.Secure.Name + "-" + shortDigest(certificate.Secret), Protocol: "HTTPS",
			},
			Tls: &istioapi.ServerTLSSettings{
				Mode:               istioapi.ServerTLSSettings_SIMPLE,
				CredentialName:     gateway.CredentialName(CopyName(owner, certificate.Secret)),
				MinProtocolVersion: istioapi.ServerTLSSettings_TLSV1_2,
			},
		}
		for _, host := range certificate.Hosts {
			server.Hosts = append(server.Hosts, "./"+host)
		}
		out.Spec.Servers = append(out.Spec.Servers, server)
	}
	return out
}

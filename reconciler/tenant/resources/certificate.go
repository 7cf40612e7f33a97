package resources

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Certificate reads the certificate of a Secret of type kubernetes.io/tls, and says
// why it can't be served at a time, if it can't.
func Certificate(secret *corev1.Secret, now time.Time) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no certificate and its key: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return leaf, validAt(leaf, now)
}

// ErrExpired is why a certificate that was good isn't any more.
var ErrExpired = errors.New("the certificate has expired")

func validAt(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w: it was good until %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is good from %s on", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// Uncovered returns, of the hosts of Models in the tenant's namespaces, the patterns
// that a certificate isn't good for.
func Uncovered(leaf *x509.Certificate, t *v1alpha1.Tenant) []string {
	var out []string
	for _, namespace := range t.Status.Namespaces {
		suffix := "." + namespace.Name + "." + t.Spec.Domain
		// A name that no certificate gives one by one: only a wildcard covers it.
		if namespace.Phase != v1alpha1.NamespaceLeaving && leaf.VerifyHostname("sluice-any-model"+suffix) != nil {
			out = append(out, "*"+suffix)
		}
	}
	return out
}

// SecretCopy is the tenant's certificate in the gateways' namespace, from which
// alone gateways can serve it.
func SecretCopy(t *v1alpha1.Tenant, from *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: objectMeta(t, gateway.OfTenant(t.Name)),
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       from.Data[corev1.TLSCertKey],
			corev1.TLSPrivateKeyKey: from.Data[corev1.TLSPrivateKeyKey],
		},
	}
}

// SecureGateways returns the Istio Gateways that serve HTTPS for the hosts of the
// tenant's domain, one for each of the gateways. One wildcard a tenant, because
// each server is a filter chain with token buckets of its own.
func SecureGateways(t *v1alpha1.Tenant, gateways []string) []*istiov1.Gateway {
	out := make([]*istiov1.Gateway, 0, len(gateways))
	for _, name := range gateways {
		out = append(out, &istiov1.Gateway{
			ObjectMeta: objectMeta(t, gateway.SecureName(gateway.OfTenant(t.Name), name)),
			Spec: istioapi.Gateway{
				Selector: map[string]string{gateway.LabelKey: name},
				Servers: []*istioapi.Server{{
					Port:  &istioapi.Port{Number: gateway.Secure.Port, Name: gateway.Secure.Name, Protocol: "HTTPS"},
					Hosts: []string{"./*." + t.Spec.Domain},
					Tls: &istioapi.ServerTLSSettings{
						Mode:               istioapi.ServerTLSSettings_SIMPLE,
						CredentialName:     gateway.CredentialName(gateway.OfTenant(t.Name)),
						MinProtocolVersion: istioapi.ServerTLSSettings_TLSV1_2,
					},
				}},
			},
		})
	}
	return out
}

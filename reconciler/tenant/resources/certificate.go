package resources

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
)

// Pair reads the pair of a Secret of type kubernetes.io/tls, and says why it can't be
// served at a time, if it can't.
func Pair(secret *corev1.Secret, now time.Time) (tlssecret.Pair, error) {
	pair, err := tlssecret.Parse(secret)
	if err != nil {
		return pair, err
	}
	return pair, validAt(pair.Leaf, now)
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
		suffix := "." + namespace.Name + "." + t.DomainInForce()
		// A name that no certificate gives one by one: only a wildcard covers it.
		if namespace.Phase != v1alpha1.NamespaceLeaving && leaf.VerifyHostname("sluice-any-model"+suffix) != nil {
			out = append(out, "*"+suffix)
		}
	}
	return out
}

// SecretCopy is the tenant's certificate in the gateways' namespace, from which
// alone gateways can serve it.
func SecretCopy(t *v1alpha1.Tenant, pair tlssecret.Pair) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: objectMeta(t, gateway.OfTenant(t.Name)), Type: corev1.SecretTypeTLS, Data: pair.Data()}
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
					Hosts: []string{"./*." + t.DomainInForce()},
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

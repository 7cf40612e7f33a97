package resources

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
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
	"sluice.dev/sluice/reconciler/apis/tlssecret"
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
// none, so no two Ingresses' copies share a name, and gateway.OwnerOf tells whose it is.
func CopyName(virtualService, secret string) string {
	return virtualService + ".tls-" + shortDigest(secret)
}

func shortDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Doubts says what clients will object to in a certificate that serves hosts. It is
// served all the same: whether it suits them is for the one who brought it.
func Doubts(leaf *x509.Certificate, hosts []string, now time.Time) string {
	var doubts []string
	if now.After(leaf.NotAfter) {
		doubts = append(doubts, "it expired at "+leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(leaf.NotBefore) {
		doubts = append(doubts, "it is not valid before "+leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	for _, host := range hosts {
		if leaf.VerifyHostname(host) != nil {
			doubts = append(doubts, fmt.Sprintf("it is not for host %q", host))
		}
	}
	return strings.Join(doubts, ", ")
}

// SecretCopy returns the copy of a pair that the gateways read: the pair and
// nothing else that the Secret may hold.
func SecretCopy(ing *v1alpha1.Ingress, tenant string, certificate Certificate, pair tlssecret.Pair) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:      CopyName(gateway.VirtualServiceName(ing.Namespace, ing.Name), certificate.Secret),
			Namespace: gateway.Namespace,
			Labels:    Labels(ing, tenant),
		},
		Type: corev1.SecretTypeTLS,
		Data: pair.Data(),
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

// Holding returns desired, an Istio Gateway of SecureGateway, with those of hosts that
// shown, which is what is written of it, serves and desired doesn't any more: each by
// the certificate that it has had.
func Holding(desired, shown *istiov1.Gateway, hosts []string) *istiov1.Gateway {
	out, left := desired.DeepCopy(), sets.New[string]()
	for _, host := range hosts {
		left.Insert("./" + host)
	}
	for _, server := range desired.Spec.Servers {
		left.Delete(server.Hosts...)
	}
	for _, before := range shown.Spec.Servers {
		held := left.Intersection(sets.New(before.Hosts...))
		if held.Len() == 0 {
			continue
		}
		i := slices.IndexFunc(out.Spec.Servers, func(s *istioapi.Server) bool { return s.GetPort().GetName() == before.GetPort().GetName() })
		if i < 0 {
			i, out.Spec.Servers = len(out.Spec.Servers), append(out.Spec.Servers, before.DeepCopy())
			out.Spec.Servers[i].Hosts = nil
		}
		out.Spec.Servers[i].Hosts = sets.List(held.Insert(out.Spec.Servers[i].Hosts...))
	}
	return out
}

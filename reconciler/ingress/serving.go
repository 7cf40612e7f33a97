package ingress

import (
	"fmt"
	"slices"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// serving is one Ingress on its way through a reconciliation: what it asks for,
// where its tenant has it, and what is there already.
type serving struct {
	*v1alpha1.Ingress
	// tenant holds the namespace; nil where none does.
	tenant *sluicev1alpha1.Tenant
	// existing is the VirtualService that is written; nil where there is none.
	existing *istiov1.VirtualService

	// splitBy tells callers apart where requests are split; nil where they are split by
	// chance.
	splitBy *sluicev1alpha1.SplitKey
	// resplit tells that the gateways are about to split otherwise than they did. The
	// Ingress isn't ready before they are seen to.
	resplit bool
	// certificates are those that the Ingress names, copies their Secrets' copies
	// as far as there are any, by name, secure the Istio Gateways that show those,
	// and problem what keeps a certificate or a split from being served as asked.
	certificates []resources.Certificate
	copies       map[string]*corev1.Secret
	secure       []*istiov1.Gateway
	problem      *resources.Problem
	// holding tells that what is written of secure serves hosts that it is to serve
	// no more. The Ingress isn't ready before it is seen to do without.
	holding bool
	// empty are the hosts of Services that it sends to and that have no endpoint yet.
	empty sets.Set[string]
	// arrived tells that what is written has all Istio Gateways that it is to have,
	// and that their pods serve it.
	arrived bool
}

// gateways are to have the routes.
func (s *serving) gateways() []string { return s.tenant.GatewaysOf(s.Namespace) }

// address is the name of the Service to publish.
func (s *serving) address() string { return s.tenant.AddressOf(s.Namespace) }

// front is the gateway that the address leads to.
func (s *serving) front() string {
	if s.address() == gateway.Shared {
		return gateway.Shared
	}
	return s.tenant.Status.Gateway
}

func (s *serving) tenantName() string {
	if s.tenant == nil {
		return ""
	}
	return s.tenant.Name
}

// secureGateways returns the Istio Gateways for the certificates that gateways have
// a copy of.
func (s *serving) secureGateways() []*istiov1.Gateway {
	served := slices.DeleteFunc(slices.Clone(s.certificates), func(c resources.Certificate) bool {
		return s.copies[resources.CopyName(gateway.VirtualServiceName(s.Namespace, s.Name), c.Secret)] == nil
	})
	if len(served) == 0 {
		return nil
	}
	var out []*istiov1.Gateway
	for _, name := range s.gateways() {
		out = append(out, resources.SecureGateway(s.Ingress, s.tenantName(), name, served))
	}
	return out
}

// certified tells whether the Ingress brings a certificate for a host.
func (s *serving) certified(host string) bool {
	return slices.ContainsFunc(s.certificates, func(c resources.Certificate) bool { return slices.Contains(c.Hosts, host) })
}

// tenantSecures tells whether a host is for the tenant's certificate.
func (s *serving) tenantSecures(host string) bool {
	return s.tenant != nil && s.tenant.Spec.TLS != nil && s.tenant.Spec.Domain != "" &&
		strings.HasSuffix(host, "."+s.tenant.Spec.Domain) && !s.certified(host)
}

// seeTenant says where to look for what a tenant's certificate lacks, if it has one.
func (s *serving) seeTenant() string {
	if s.tenant == nil || s.tenant.Spec.TLS == nil {
		return ""
	}
	return fmt.Sprintf(" See condition %s of Tenant %s.", sluicev1alpha1.TenantConditionCertificateReady, s.tenant.Name)
}

// securedOn returns the gateways that are to serve a host over HTTPS: all for the
// Ingress' own certificate, those of the tenant for the tenant's.
func (s *serving) securedOn(host string) []string {
	switch {
	case s.certified(host):
		return s.gateways()
	case s.tenantSecures(host):
		return s.tenant.Status.Attached
	}
	return nil
}

// wantsRedirect tells whether plain HTTP for a host is to be redirected where it
// is served over HTTPS.
func (s *serving) wantsRedirect(host string) bool {
	if s.Spec.HTTPOption == v1alpha1.HTTPOptionRedirected {
		return true
	}
	// Redirected is also what unset means, to a Tenant that no webhook has seen.
	return s.tenantSecures(host) && s.tenant.Spec.TLS.HTTPProtocol != sluicev1alpha1.HTTPEnabled
}

// binding is where the Ingress is to be served: without what was there before, and
// without an answer to which hosts are redirected already.
func (s *serving) binding() resources.Binding {
	binding := resources.Binding{Tenant: s.tenantName(), SplitBy: s.splitBy}
	for _, name := range s.gateways() {
		binding.HTTP = append(binding.HTTP, qualified(name))
		binding.Local = append(binding.Local, qualified(gateway.LocalName(name)))
	}
	for _, own := range s.secure {
		binding.HTTPS = append(binding.HTTPS, qualified(own.Name))
	}
	if slices.ContainsFunc(resources.ExternalHosts(s.Ingress), s.tenantSecures) {
		for _, name := range s.tenant.Status.Attached {
			binding.HTTPS = append(binding.HTTPS, qualified(gateway.SecureName(gateway.OfTenant(s.tenant.Name), name)))
		}
	}
	return binding
}

// redirected returns, by host, the Istio Gateways on which plain HTTP is only
// redirected. Where it is answered now, it is so until HTTPS is proved.
func (s *serving) redirected(now sight) map[string]sets.Set[string] {
	out := map[string]sets.Set[string]{}
	for _, host := range resources.ExternalHosts(s.Ingress) {
		if !s.wantsRedirect(host) {
			continue
		}
		out[host] = sets.New[string]()
		for _, name := range s.securedOn(host) {
			if plain := qualified(name); !s.answers(host, plain) || now.secured(host, name) {
				out[host].Insert(plain)
			}
		}
	}
	return out
}

// keepRedirects adds the hosts that what is written redirects on an Istio Gateway.
func (s *serving) keepRedirects(istioGateway string, redirected map[string]sets.Set[string]) {
	for host, on := range redirected {
		if resources.Redirects(s.existing, host, istioGateway) {
			on.Insert(istioGateway)
		}
	}
}

// answers tells whether what is written forwards requests for a host on an Istio
// Gateway.
func (s *serving) answers(host, istioGateway string) bool {
	return s.existing != nil && slices.Contains(s.existing.Spec.Hosts, host) &&
		slices.Contains(s.existing.Spec.Gateways, istioGateway) && !resources.Redirects(s.existing, host, istioGateway)
}

// qualified is how a VirtualService names an Istio Gateway.
func qualified(istioGateway string) string { return gateway.Namespace + "/" + istioGateway }

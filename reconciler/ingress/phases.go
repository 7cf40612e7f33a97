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

// Each phase of a reconciliation takes what the one before it returned, and returns that with
// what it found itself, so none can go by what isn't known yet.

// asked is what an Ingress asks for, where its tenant has it, and what is there already.
type asked struct {
	*v1alpha1.Ingress
	// tenant holds the namespace; nil where none does.
	tenant *sluicev1alpha1.Tenant
	// existing is the VirtualService that is written; nil where there is none.
	existing *istiov1.VirtualService
	// splitBy tells callers apart where requests are split; nil where they are split by
	// chance, and unsplit is why that isn't as asked.
	splitBy *sluicev1alpha1.SplitKey
	unsplit *resources.Problem
}

// claimed is an Ingress whose hosts are its own.
type claimed struct{ asked }

// admitted is one whose requests may come to where it sends them.
type admitted struct {
	claimed
	// behind is what stands behind the Services that it sends to.
	behind behind
	// limited names the Model whose limit its requests count in, "" if there is none.
	limited string
	// held are the gateways at which the routes wait for the proof of that limit.
	held []string
}

// copied is one whose certificates are where the gateways read them.
type copied struct {
	admitted
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
}

// written is one whose VirtualService is written.
type written struct {
	copied
	// step is how far what is written has come to what is to be.
	step resources.Step
	// arrived tells that what was written before has all Istio Gateways that it is to
	// have, and that their pods serve it.
	arrived bool
}

// exposed is one whose certificates are shown, as its routes were written before.
type exposed struct{ written }

// whole is one of which all is written that serves it.
type whole struct {
	exposed
	// resplit tells that the gateways are about to split otherwise than they did. The
	// Ingress isn't ready before they are seen to.
	resplit bool
}

// gateways are to have the routes.
func (s *asked) gateways() []string { return s.tenant.GatewaysOf(s.Namespace) }

// open are those of them that may have the routes now.
func (s *admitted) open() []string {
	return slices.DeleteFunc(s.gateways(), func(name string) bool { return slices.Contains(s.held, name) })
}

// address is the name of the Service to publish.
func (s *asked) address() string { return s.tenant.AddressOf(s.Namespace) }

// front is the gateway that the address leads to.
func (s *asked) front() string {
	if s.address() == gateway.Shared {
		return gateway.Shared
	}
	return s.tenant.Status.Gateway
}

func (s *asked) tenantName() string {
	if s.tenant == nil {
		return ""
	}
	return s.tenant.Name
}

// secureGateways returns the Istio Gateways for the certificates that gateways have
// a copy of.
func (s *copied) secureGateways() []*istiov1.Gateway {
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
func (s *copied) certified(host string) bool {
	return slices.ContainsFunc(s.certificates, func(c resources.Certificate) bool { return slices.Contains(c.Hosts, host) })
}

// tenantSecures tells whether a host is for the tenant's certificate.
func (s *copied) tenantSecures(host string) bool {
	domain := s.tenant.DomainInForce()
	return domain != "" && s.tenant.Spec.TLS != nil && strings.HasSuffix(host, "."+domain) && !s.certified(host)
}

// seeTenant says where to look for what a tenant's certificate lacks, if it has one.
func (s *asked) seeTenant() string {
	if s.tenant == nil || s.tenant.Spec.TLS == nil {
		return ""
	}
	return fmt.Sprintf(" See condition %s of Tenant %s.", sluicev1alpha1.TenantConditionCertificateReady, s.tenant.Name)
}

// securedOn returns the gateways that are to serve a host over HTTPS now: all for the
// Ingress' own certificate, those of the tenant for the tenant's.
func (s *copied) securedOn(host string) []string {
	switch {
	case s.certified(host):
		return s.open()
	case s.tenantSecures(host):
		return s.ofTenant()
	}
	return nil
}

// ofTenant are those of the tenant's gateways that may have the routes now.
func (s *admitted) ofTenant() []string {
	return slices.DeleteFunc(slices.Clone(s.tenant.Status.Attached), func(name string) bool { return slices.Contains(s.held, name) })
}

// wantsRedirect tells whether plain HTTP for a host is to be redirected where it
// is served over HTTPS.
func (s *copied) wantsRedirect(host string) bool {
	if s.Spec.HTTPOption == v1alpha1.HTTPOptionRedirected {
		return true
	}
	// Redirected is also what unset means, to a Tenant that no webhook has seen.
	return s.tenantSecures(host) && s.tenant.Spec.TLS.HTTPProtocol != sluicev1alpha1.HTTPEnabled
}

// binding is where the Ingress is to be served: without what was there before, and
// without an answer to which hosts are redirected already.
func (s *copied) binding() resources.Binding {
	binding := resources.Binding{Tenant: s.tenantName(), SplitBy: s.splitBy}
	for _, name := range s.open() {
		binding.HTTP = append(binding.HTTP, qualified(name))
		binding.Local = append(binding.Local, qualified(gateway.LocalName(name)))
	}
	for _, own := range s.secure {
		if !slices.Contains(s.held, own.Spec.Selector[gateway.LabelKey]) {
			binding.HTTPS = append(binding.HTTPS, qualified(own.Name))
		}
	}
	if slices.ContainsFunc(resources.ExternalHosts(s.Ingress), s.tenantSecures) {
		for _, name := range s.ofTenant() {
			binding.HTTPS = append(binding.HTTPS, qualified(gateway.SecureName(gateway.OfTenant(s.tenant.Name), name)))
		}
	}
	return binding
}

// redirected returns, by host, the Istio Gateways on which plain HTTP is only
// redirected. Where it is answered now, it is so until HTTPS is proved.
func (s *copied) redirected(now sight) map[string]sets.Set[string] {
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
func (s *asked) keepRedirects(istioGateway string, redirected map[string]sets.Set[string]) {
	for host, on := range redirected {
		if resources.Redirects(s.existing, host, istioGateway) {
			on.Insert(istioGateway)
		}
	}
}

// answers tells whether what is written forwards requests for a host on an Istio
// Gateway.
func (s *asked) answers(host, istioGateway string) bool {
	return s.existing != nil && slices.Contains(s.existing.Spec.Hosts, host) &&
		slices.Contains(s.existing.Spec.Gateways, istioGateway) && !resources.Redirects(s.existing, host, istioGateway)
}

// qualified is how a VirtualService names an Istio Gateway.
func qualified(istioGateway string) string { return gateway.Namespace + "/" + istioGateway }

package ingress

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

const (
	// hostIndex is the index of Ingresses of our class, and of VirtualServices, by
	// the hosts that they name.
	hostIndex = "sluice.dev/host"
	// domainIndex is the index of Tenants by the domain that is in force.
	domainIndex = "sluice.dev/domain"
)

// claims tells which Ingress holds a host: the first that named it, of those that
// may. istiod would merge the routes of two VirtualServices of one host, so the
// second gets none.
type claims struct {
	ingresses, tenants, routes cache.Indexer
}

// newClaims adds the indexes that claims need to the indexers of the informers of
// Ingresses, Tenants and the VirtualServices that serve them.
func newClaims(ingresses, tenants, routes cache.Indexer) (*claims, error) {
	if err := errors.Join(
		tenancy.Index(tenants),
		tenants.AddIndexers(cache.Indexers{domainIndex: indexDomain}),
		ingresses.AddIndexers(cache.Indexers{hostIndex: indexHosts}),
		routes.AddIndexers(cache.Indexers{hostIndex: indexRoutes}),
	); err != nil {
		return nil, fmt.Errorf("indexing hosts and domains: %w", err)
	}
	return &claims{ingresses: ingresses, tenants: tenants, routes: routes}, nil
}

func indexDomain(object any) ([]string, error) {
	tenant, ok := object.(*sluicev1alpha1.Tenant)
	if !ok || tenant.ReservedDomain() == "" {
		return nil, nil
	}
	return []string{tenant.ReservedDomain()}, nil
}

func indexRoutes(object any) ([]string, error) {
	route, ok := object.(*istiov1.VirtualService)
	if !ok {
		return nil, nil
	}
	return route.Spec.Hosts, nil
}

func indexHosts(object any) ([]string, error) {
	ing, ok := object.(*v1alpha1.Ingress)
	if !ok || !ours(ing) {
		return nil, nil
	}
	return hostsOf(ing), nil
}

// hostsOf returns the hosts of an Ingress, sorted, each once.
func hostsOf(ing *v1alpha1.Ingress) []string {
	hosts := sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		hosts.Insert(rule.Hosts...)
	}
	return sets.List(hosts)
}

// check returns an error that names the first host that ing can't have: one that
// isn't a host, is reserved for others, or is held by another Ingress.
func (c *claims) check(ing *v1alpha1.Ingress) error {
	if err := c.entitled(ing); err != nil {
		return err
	}
	for _, host := range hostsOf(ing) {
		if err := c.checkHolder(ing, host); err != nil {
			return err
		}
	}
	return nil
}

// entitled returns an error if ing can't be served whatever other Ingresses name.
func (c *claims) entitled(ing *v1alpha1.Ingress) error {
	for i, rule := range ing.Spec.Rules {
		if len(rule.Hosts) == 0 {
			return fmt.Errorf("spec.rules[%d].hosts is empty: a rule for every host would serve those of others", i)
		}
	}
	for _, host := range hostsOf(ing) {
		if err := checkHost(host); err != nil {
			return err
		}
		if err := c.checkOwner(ing.Namespace, host); err != nil {
			return err
		}
	}
	return nil
}

// checkHolder returns an error if another Ingress holds a host, or still has
// routes for it. Who that is, is for those of its own tenant to know.
func (c *claims) checkHolder(ing *v1alpha1.Ingress, host string) error {
	contenders, err := c.contenders(host)
	if err != nil {
		return err
	}
	holder := c.holderOf(contenders)
	switch {
	case holder == nil || keyOf(holder) == keyOf(ing):
		return c.checkRoutes(ing, host)
	case holder.Namespace == ing.Namespace:
		return fmt.Errorf("host %q is held by Ingress %s of this namespace", host, holder.Name)
	}
	mine, err := tenancy.Of(c.tenants, ing.Namespace)
	if err != nil {
		return err
	}
	if mine != nil && mine.Holds(holder.Namespace) {
		return fmt.Errorf("host %q is held by Ingress %s of namespace %s", host, holder.Name, holder.Namespace)
	}
	return fmt.Errorf("host %q is held by an Ingress of another namespace", host)
}

// checkRoutes returns an error if a VirtualService that serves another Ingress
// still names a host.
func (c *claims) checkRoutes(ing *v1alpha1.Ingress, host string) error {
	objects, err := c.routes.ByIndex(hostIndex, host)
	if err != nil {
		return fmt.Errorf("finding the virtual services of host %q: %w", host, err)
	}
	for _, object := range objects {
		route, ok := object.(*istiov1.VirtualService)
		if ok && managed(route) && route.Name != gateway.VirtualServiceName(ing.Namespace, ing.Name) {
			return fmt.Errorf("host %q is still being withdrawn from its last holder", host)
		}
	}
	return nil
}

// checkOwner returns an error if a host is for other namespaces than this one: a
// Service's name for the Service's own, one of a Tenant's domain for those that
// the Tenant holds.
func (c *claims) checkOwner(namespace, host string) error {
	if labels := strings.Split(strings.TrimSuffix(host, "."+network.GetClusterDomainName()), "."); labels[len(labels)-1] == "svc" {
		if len(labels) < 3 || labels[len(labels)-2] != namespace {
			return fmt.Errorf("host %q is the name of a Service of another namespace", host)
		}
		return nil
	}
	owner, err := c.ownerOf(host)
	if err != nil || owner == nil || owner.Holds(namespace) {
		return err
	}
	return fmt.Errorf("host %q is of the domain of a Tenant that doesn't hold namespace %s: use another host, or have it hold the namespace",
		host, namespace)
}

// ownerOf returns the Tenant of whose domain a host is, or nil. A domain that is asked
// for and not in force is nobody's: it may have been refused for this very host. Should
// domains overlap for a moment, it is the first come's.
func (c *claims) ownerOf(host string) (*sluicev1alpha1.Tenant, error) {
	var owner *sluicev1alpha1.Tenant
	for domain := host; domain != ""; _, domain, _ = strings.Cut(domain, ".") {
		objects, err := c.tenants.ByIndex(domainIndex, domain)
		if err != nil {
			return nil, fmt.Errorf("finding the tenant of domain %q: %w", domain, err)
		}
		for _, object := range objects {
			if tenant, ok := object.(*sluicev1alpha1.Tenant); ok && (owner == nil || tenancy.Before(tenant, owner)) {
				owner = tenant
			}
		}
	}
	return owner, nil
}

func checkHost(host string) error {
	if problems := validation.IsDNS1123Subdomain(host); len(problems) > 0 {
		return fmt.Errorf("host %q is not a host name: %s", host, strings.Join(problems, "; "))
	}
	if !strings.Contains(host, ".") {
		return fmt.Errorf("host %q has no domain: istiod would take it for a Service of the gateways' namespace", host)
	}
	if strings.HasSuffix(host, strings.TrimPrefix(gateway.ProbeHost(""), "limits.")) {
		return fmt.Errorf("host %q is reserved for the gateways' own probes", host)
	}
	return nil
}

// sharing returns the Ingresses that name one of some hosts.
func (c *claims) sharing(hosts []string) ([]types.NamespacedName, error) {
	keys := sets.New[types.NamespacedName]()
	for _, host := range hosts {
		contenders, err := c.contenders(host)
		if err != nil {
			return nil, err
		}
		for _, contender := range contenders {
			keys.Insert(keyOf(contender))
		}
	}
	return keys.UnsortedList(), nil
}

func (c *claims) contenders(host string) ([]*v1alpha1.Ingress, error) {
	objects, err := c.ingresses.ByIndex(hostIndex, host)
	if err != nil {
		return nil, fmt.Errorf("finding the ingresses of host %q: %w", host, err)
	}
	contenders := make([]*v1alpha1.Ingress, 0, len(objects))
	for _, object := range objects {
		if ing, ok := object.(*v1alpha1.Ingress); ok {
			contenders = append(contenders, ing)
		}
	}
	return contenders, nil
}

// holderOf returns the first come of those that can be served. Creation times
// are whole seconds: of those of one second the one that is served already keeps
// the host, then names decide.
func (c *claims) holderOf(contenders []*v1alpha1.Ingress) *v1alpha1.Ingress {
	sorted := slices.DeleteFunc(contenders, func(ing *v1alpha1.Ingress) bool { return c.entitled(ing) != nil })
	if len(sorted) == 0 {
		return nil
	}
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
			return a.CreationTimestamp.Before(&b.CreationTimestamp)
		}
		if a, b := served(a), served(b); a != b {
			return a
		}
		return keyOf(a).String() < keyOf(b).String()
	})
	return sorted[0]
}

// served tells whether an Ingress has its routes, be it without its certificate.
func served(ing *v1alpha1.Ingress) bool {
	return ing.Status.GetCondition(v1alpha1.IngressConditionNetworkConfigured).IsTrue() ||
		ing.Status.GetCondition(v1alpha1.IngressConditionLoadBalancerReady).IsTrue()
}

func keyOf(ing *v1alpha1.Ingress) types.NamespacedName {
	return types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
}

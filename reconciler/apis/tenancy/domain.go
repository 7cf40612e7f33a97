package tenancy

import (
	"fmt"
	"maps"
	"slices"

	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// DomainConfig is the name of the ConfigMap in which Knative Serving is told which
// routes get which domain.
const DomainConfig = "config-domain"

// domainEntry is what that says of a domain (see
// serving/pkg/reconciler/route/config/domain.go).
type domainEntry struct {
	Selector map[string]string `json:"selector,omitempty"`
	Type     string            `json:"type,omitempty"`
}

// DomainEntry is the value, in config-domain, by which Knative gives the tenant's
// domain to the Knative Services that are labelled as the tenant's.
func DomainEntry(tenant string) string {
	return "selector:\n  " + sluice.TenantLabelKey + ": " + tenant + "\n"
}

// IsDomainEntry tells whether a value of config-domain is the tenant's, however it
// is written.
func IsDomainEntry(value, tenant string) bool {
	var entry domainEntry
	return yaml.Unmarshal([]byte(value), &entry) == nil &&
		maps.Equal(entry.Selector, map[string]string{sluice.TenantLabelKey: tenant})
}

// Domains is what decides which tenant has which domain.
type Domains struct {
	Tenants []*v1alpha1.Tenant
	// Config is the content of config-domain, ConfigMap where that is, for a person.
	Config    map[string]string
	ConfigMap string
	// Ingresses are those of all namespaces and classes.
	Ingresses []*netv1alpha1.Ingress
}

// Refusal is why a tenant can't have the domain that it asks for, with the remedy.
type Refusal struct{ Reason, Message string }

// Refused says why a tenant can't have its domain, nil if it can. Of domains that
// overlap, the one in force stays and, where none is, the first come gets his of those
// that could have it: one that is refused takes nothing from anybody.
func (d Domains) Refused(t *v1alpha1.Tenant) *Refusal {
	if why := d.Unfit(t); why != nil || t.Spec.Domain == "" {
		return why
	}
	asking := []*v1alpha1.Tenant{t}
	for _, other := range d.Tenants {
		if other.Name != t.Name && other.Spec.Domain != "" && other.DeletionTimestamp == nil {
			asking = append(asking, other)
		}
	}
	slices.SortFunc(asking, func(a, b *v1alpha1.Tenant) int {
		if domainBefore(a, b) {
			return -1
		}
		return 1
	})
	var having []*v1alpha1.Tenant
	for _, next := range asking {
		holder := slices.IndexFunc(having, next.DomainOverlaps)
		switch {
		case next.Name == t.Name && holder < 0:
			return nil
		case next.Name == t.Name:
			return &Refusal{"HeldByAnother", fmt.Sprintf("%q overlaps with %q, the domain of tenant %q. Choose one beside it.",
				t.Spec.Domain, having[holder].Spec.Domain, having[holder].Name)}
		case holder < 0 && d.Unfit(next) == nil:
			having = append(having, next)
		}
	}
	return nil
}

// domainBefore orders tenants by whose domain goes first.
func domainBefore(a, b *v1alpha1.Tenant) bool {
	if a, b := a.AwaitsDomain(), b.AwaitsDomain(); a != b {
		return b
	}
	return Before(a, b)
}

// Unfit says why a tenant can't have its domain whatever other tenants ask for, nil if
// it can: it is the cluster's, or others are served there. Once it is in force, who
// names a host of it came later.
func (d Domains) Unfit(t *v1alpha1.Tenant) *Refusal {
	domain := t.Spec.Domain
	if domain == "" {
		return nil
	}
	if reserved := v1alpha1.PlatformDomain(domain); reserved != "" {
		return &Refusal{"Reserved", fmt.Sprintf("%q is, or holds, or is part of %q, which is the cluster's own. Choose another.", domain, reserved)}
	}
	if key := d.takes(domain, t.Name); key != "" {
		return &Refusal{"NotOwned", fmt.Sprintf("%q is, or holds, %q, which ConfigMap %s gives to others than this tenant. "+
			"Choose another, such as one below it, or remove it there.", domain, key, d.ConfigMap)}
	}
	if t.AwaitsDomain() && d.servesOthers(domain, t) {
		return &Refusal{"ServesOthers", fmt.Sprintf("Namespaces that are not this tenant's have hosts under %q already, which it would take from them. "+
			"Choose another, or have the tenant hold those namespaces; `kubectl get kingress -A` lists hosts.", domain)}
	}
	return nil
}

// takes returns the first of Knative's domains, those that are the tenant's left out,
// that a domain is or holds.
func (d Domains) takes(domain, tenant string) string {
	for _, key := range slices.Sorted(maps.Keys(d.Config)) {
		if v1alpha1.IsUnder(key, domain) && !IsDomainEntry(d.Config[key], tenant) {
			return key
		}
	}
	return ""
}

// servesOthers tells whether Ingresses of our class, in namespaces that aren't the
// tenant's, name hosts under a domain. That they may not be served yet doesn't matter:
// they came first.
func (d Domains) servesOthers(domain string, t *v1alpha1.Tenant) bool {
	return slices.ContainsFunc(d.Ingresses, func(ing *netv1alpha1.Ingress) bool {
		return !t.Holds(ing.Namespace) && Serves(ing) && NamesUnder(ing, domain)
	})
}

// NamesUnder tells whether an Ingress names a host under a domain.
func NamesUnder(ing *netv1alpha1.Ingress, domain string) bool {
	return slices.ContainsFunc(ing.Spec.Rules, func(rule netv1alpha1.IngressRule) bool {
		return slices.ContainsFunc(rule.Hosts, func(host string) bool { return v1alpha1.IsUnder(host, domain) })
	})
}

// Serves tells whether an Ingress is of our class.
func Serves(ing *netv1alpha1.Ingress) bool {
	return ing.Annotations[networking.IngressClassAnnotationKey] == sluice.IngressClassName
}

// StaleDomains returns the keys of config-domain that are the tenant's and no longer
// its domain, sorted.
func StaleDomains(data map[string]string, tenant, domain string) []string {
	var out []string
	for key, value := range data {
		if key != domain && IsDomainEntry(value, tenant) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

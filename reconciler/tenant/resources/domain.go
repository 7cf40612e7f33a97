package resources

import (
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

// domainEntry is what Knative's ConfigMap config-domain says of a domain (see
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

// DomainHolder returns the other tenant that has a domain which overlaps with that
// of t, or had asked for it before t; nil where the domain is t's. data is that of
// config-domain, which says who has one.
func DomainHolder(t *v1alpha1.Tenant, tenants []*v1alpha1.Tenant, data map[string]string) *v1alpha1.Tenant {
	has := func(t *v1alpha1.Tenant) bool { return IsDomainEntry(data[t.Spec.Domain], t.Name) }
	first := t
	for _, other := range tenants {
		if other.Name == t.Name || !t.DomainOverlaps(other) {
			continue
		}
		if a, b := has(other), has(first); (a && !b) || (a == b && tenancy.Before(other, first)) {
			first = other
		}
	}
	if first == t {
		return nil
	}
	return first
}

package v1alpha1

import "strings"

// DomainInForce is the domain that the tenant was given, "" for none: what the spec
// asks for may have been refused.
func (t *Tenant) DomainInForce() string {
	if t == nil {
		return ""
	}
	// A status of before there was the field says it by its condition.
	if t.Status.Domain == "" && t.Status.ObservedGeneration == t.Generation && t.Status.GetCondition(TenantConditionDomainReady).IsTrue() {
		return t.Spec.Domain
	}
	return t.Status.Domain
}

// ReservedDomain is the domain of which the hosts are for the tenant's namespaces
// alone, "" for none. One that is being deleted keeps nobody out, though its own
// hosts are served until its namespaces have left.
func (t *Tenant) ReservedDomain() string {
	if t == nil || t.DeletionTimestamp != nil {
		return ""
	}
	return t.DomainInForce()
}

// AwaitsDomain tells whether the tenant asks for a domain that it doesn't have.
func (t *Tenant) AwaitsDomain() bool {
	return t.DeletionTimestamp == nil && t.Spec.Domain != "" && t.Spec.Domain != t.DomainInForce()
}

// domainCounts tells whether others can't ask for the tenant's domain: it is in
// force, or not decided yet.
func (t *Tenant) domainCounts() bool {
	refused := t.Status.ObservedGeneration == t.Generation && t.Status.GetCondition(TenantConditionDomainReady).IsFalse()
	return t.DeletionTimestamp == nil && !refused
}

// IsUnder tells whether a host is a domain, or part of it.
func IsUnder(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// PlatformDomain returns the domain, of those that no Tenant can have any part of,
// that one overlaps with; "" for none.
func PlatformDomain(domain string) string {
	for _, reserved := range platformDomains() {
		if domainsOverlap(domain, reserved) {
			return reserved
		}
	}
	return ""
}

// domainsOverlap tells whether two domains are one, or one holds the other.
func domainsOverlap(a, b string) bool { return IsUnder(a, b) || IsUnder(b, a) }

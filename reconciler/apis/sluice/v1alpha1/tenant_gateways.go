package v1alpha1

import (
	"slices"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// WantedGateway is the gateway that the spec asks for. A Tenant that is being
// deleted goes back to the shared one first.
func (t *Tenant) WantedGateway() string {
	if t.Spec.Gateway.Mode == GatewayDedicated && t.DeletionTimestamp == nil {
		return gateway.OfTenant(t.Name)
	}
	return gateway.Shared
}

// NeedsDedicated tells whether the tenant's own gateway has to run: it is wanted,
// or still has the tenant's routes or its address.
func (t *Tenant) NeedsDedicated() bool {
	own := gateway.OfTenant(t.Name)
	return t.WantedGateway() == own || t.Status.Gateway == own || slices.Contains(t.Status.Attached, own)
}

// GatewaysOf returns the gateways, sorted, that are to have the routes and limits
// of a namespace: the shared one where t is nil, or doesn't hold the namespace.
func (t *Tenant) GatewaysOf(namespace string) []string {
	held, ok := t.namespace(namespace)
	if !ok || len(t.Status.Attached) == 0 {
		return []string{gateway.Shared}
	}
	gateways := slices.Clone(t.Status.Attached)
	if held.Phase != NamespaceHeld {
		gateways = append(gateways, gateway.Shared)
	}
	slices.Sort(gateways)
	return slices.Compact(gateways)
}

// AddressOf returns the name of the Service, in the gateways' namespace, at which
// a namespace is reached from outside the cluster; gateway.LocalName of it is the
// one for callers inside.
func (t *Tenant) AddressOf(namespace string) string {
	if held, ok := t.namespace(namespace); ok && held.Phase != NamespaceLeaving && t.Status.Gateway != "" {
		return gateway.OfTenant(t.Name)
	}
	return gateway.Shared
}

// Holds tells whether the namespace is the tenant's, by its status.
func (t *Tenant) Holds(namespace string) bool {
	_, ok := t.namespace(namespace)
	return ok
}

func (t *Tenant) namespace(name string) (TenantNamespace, bool) {
	if t == nil {
		return TenantNamespace{}, false
	}
	for _, held := range t.Status.Namespaces {
		if held.Name == name {
			return held, true
		}
	}
	return TenantNamespace{}, false
}

package gateway

import "strings"

// NoTenant stands for the tenant in a RouteName where there is none; no tenant has that name.
const NoTenant = "-"

const (
	// Splitting is the kind of a route that a key splits.
	Splitting = "split"
	// Redirecting is the kind of a route that only sends plain HTTP to HTTPS.
	Redirecting = "redirect"
)

// RouteName is what Envoy calls a route of clients' requests, and logs of each. Neither tenants'
// nor Kubernetes' names hold a slash.
type RouteName struct {
	// Tenant holds the namespace; "" where none does.
	Tenant string
	// Namespace and Name are those of the Ingress that is served, which has its Model's name.
	Namespace, Name string
	// Kind is one of those above, or "" of a usual route.
	Kind string
}

// String is "<tenant>/<namespace>/<name>", and "/<kind>" where there is one.
func (r RouteName) String() string {
	parts := []string{r.Tenant, r.Namespace, r.Name}
	if r.Tenant == "" {
		parts[0] = NoTenant
	}
	if r.Kind != "" {
		parts = append(parts, r.Kind)
	}
	return strings.Join(parts, "/")
}

// ParseRouteName reads a name as String writes it; false if it is none.
func ParseRouteName(name string) (RouteName, bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return RouteName{}, false
	}
	r := RouteName{Tenant: parts[0], Namespace: parts[1], Name: parts[2]}
	if r.Tenant == NoTenant {
		r.Tenant = ""
	}
	if len(parts) == 4 {
		r.Kind = parts[3]
	}
	return r, r.String() == name
}

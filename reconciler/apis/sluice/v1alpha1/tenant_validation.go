package v1alpha1

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	validationutil "k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// maxTenantName leaves room in Kubernetes' 63 characters for the longest name
	// that is made from a tenant's, "tenant-<name>-limit-<slots>-<slot>".
	maxTenantName = 40
	// maxDomain leaves room in a host's 253 characters for the longest names of a Model
	// and of its namespace, and their dots.
	maxDomain          = 253 - 2*(63+1)
	maxGatewayReplicas = 100
)

// Validate implements apis.Validatable. Every error names its field and says what
// would be right. What needs other Tenants to tell is in ConflictsWith.
func (t *Tenant) Validate(ctx context.Context) *apis.FieldError {
	// What was accepted once must stay deletable, and its status writable.
	if apis.IsInStatusUpdate(ctx) || t.DeletionTimestamp != nil {
		return nil
	}
	spec := t.Spec
	return t.validateName().Also(
		spec.Namespaces.validate().ViaField("spec", "namespaces"),
		validateDomain(spec.Domain).ViaField("spec"),
		spec.Gateway.validate().ViaField("spec", "gateway"),
		spec.validateTLS().ViaField("spec"),
		spec.Limits.validate().ViaField("spec", "limits"),
		t.warnOfUncapped(ctx),
	)
}

// SupportedVerbs says when the webhook is asked: not on a deletion, which must work
// while the webhook doesn't.
func (*Tenant) SupportedVerbs() []admissionregistrationv1.OperationType {
	return []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
}

// SupportedSubResources says of which parts the webhook is asked: of the Tenant,
// not of its status.
func (*Tenant) SupportedSubResources() []string { return []string{""} }

// validateName holds the name to what the Services and gateways made from it bear.
func (t *Tenant) validateName() *apis.FieldError {
	field, name, prefix := "metadata.name", t.Name, false
	if name == "" && t.GenerateName != "" {
		field, name, prefix = "metadata.generateName", t.GenerateName, true
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNSLabel(name, prefix) {
		errs = errs.Also(invalid(field, "the name is part of those of the tenant's Services and gateway, and %q can't be: %s", name, problem))
	}
	most := maxTenantName
	if prefix {
		most -= len(longestGenerated(""))
	}
	if len(name) > most {
		errs = errs.Also(invalid(field, "must be at most %d characters long, %q has %d", most, name, len(name)))
	}
	if suffix := gateway.LocalName(""); strings.HasSuffix(name, suffix) {
		errs = errs.Also(invalid(field, "%q must not end in %q, which marks the Services for callers inside the cluster", name, suffix))
	}
	return errs
}

func (n *TenantNamespaces) validate() *apis.FieldError {
	if len(n.Names) == 0 && n.Selector == nil {
		err := apis.ErrMissingOneOf("names", "selector")
		err.Details = "name the tenant's namespaces, or pick them by their labels"
		return err
	}
	errs := n.validateSelector()
	for i, name := range n.Names {
		errs = errs.Also(validateNamespace(name).ViaFieldIndex("names", i))
		if first := slices.Index(n.Names, name); first < i {
			errs = errs.Also(invalid(apis.CurrentField, "%q is named twice, remove one of them", name).ViaFieldIndex("names", i))
		}
	}
	return errs
}

func (n *TenantNamespaces) validateSelector() *apis.FieldError {
	if n.Selector == nil {
		return nil
	}
	if n.selectsAll() {
		return invalid("selector", "an empty selector would pick every namespace of the cluster; "+
			"give matchLabels or matchExpressions, or remove it")
	}
	if _, err := metav1.LabelSelectorAsSelector(n.Selector); err != nil {
		return invalid("selector", "%v", err)
	}
	return nil
}

func (n *TenantNamespaces) selectsAll() bool {
	return n.Selector != nil && len(n.Selector.MatchLabels)+len(n.Selector.MatchExpressions) == 0
}

func validateNamespace(name string) *apis.FieldError {
	var errs *apis.FieldError
	for _, problem := range validation.ValidateNamespaceName(name, false) {
		errs = errs.Also(invalid(apis.CurrentField, "%q is no namespace's name: %s", name, problem))
	}
	if IsReservedNamespace(name) {
		errs = errs.Also(invalid(apis.CurrentField, "namespace %q belongs to the platform and can't be a tenant's; "+
			"give the tenant's Models a namespace of their own", name))
	}
	return errs
}

// IsReservedNamespace tells whether a namespace is the platform's, which no Tenant
// can have, be it named or selected.
func IsReservedNamespace(name string) bool {
	switch name {
	case sluice.SystemNamespace, gateway.Namespace, "knative-serving", "knative-eventing", "istio-system":
		return true
	}
	return strings.HasPrefix(name, "kube-")
}

func validateDomain(domain string) *apis.FieldError {
	if domain == "" {
		return nil
	}
	var errs *apis.FieldError
	for _, problem := range validationutil.IsDNS1123Subdomain(domain) {
		errs = errs.Also(invalid("domain", "%q is not a domain: %s", domain, problem))
	}
	if !strings.Contains(domain, ".") {
		errs = errs.Also(invalid("domain", "%q has no dot; give at least two labels, such as %q", domain, domain+".example.com"))
	}
	if len(domain) > maxDomain {
		errs = errs.Also(invalid("domain", "must be at most %d characters long, so that the Models' hosts are within %d; it has %d",
			maxDomain, validationutil.DNS1123SubdomainMaxLength, len(domain)))
	}
	if reserved := PlatformDomain(domain); reserved != "" {
		errs = errs.Also(invalid("domain", "%q is, or holds, or is part of %q, which is the cluster's own; choose another", domain, reserved))
	}
	return errs
}

// platformDomains are those of the names of Services, and of our own probes.
func platformDomains() []string {
	return []string{"svc", "cluster.local", network.GetClusterDomainName(), gatewaysDomain}
}

// gatewaysDomain is where gateways answer our own probes; see gateway.ProbeHost.
const gatewaysDomain = "gateway.sluice.internal"

func (g *TenantGateway) validate() *apis.FieldError {
	errs := g.Replicas.validate().ViaField("replicas").Also(validateResources(g.Resources).ViaField("resources"))
	switch g.Mode {
	case "", GatewayShared:
		errs = errs.Also(g.warnOfShared())
	case GatewayDedicated:
	default:
		errs = errs.Also(invalid("mode", "must be %s or %s, is %q", GatewayShared, GatewayDedicated, g.Mode))
	}
	return errs
}

// warnOfShared warns of what only a Dedicated gateway has. It isn't refused: going
// back to Shared, and again to Dedicated, is a change of mode and nothing else.
func (g *TenantGateway) warnOfShared() *apis.FieldError {
	const without = "has no effect while mode is Shared: the shared gateway is built as ConfigMap config-gateway says"
	var warnings *apis.FieldError
	if g.Replicas.Min != nil || g.Replicas.Max != nil {
		warnings = warnings.Also(warning(without, "replicas"))
	}
	if len(g.Resources.Requests)+len(g.Resources.Limits) > 0 {
		warnings = warnings.Also(warning(without, "resources"))
	}
	return warnings
}

func (r *GatewayReplicas) validate() *apis.FieldError {
	errs := ofGateway("min", r.Min).Also(ofGateway("max", r.Max))
	if errs == nil && r.Min != nil && r.Max != nil && *r.Max < *r.Min {
		return invalid("max", "is %d, must be at least min, which is %d", *r.Max, *r.Min)
	}
	return errs
}

func ofGateway(field string, replicas *int32) *apis.FieldError {
	if replicas == nil || (*replicas >= 1 && *replicas <= maxGatewayReplicas) {
		return nil
	}
	return invalid(field, "must be from 1 to %d, is %d", maxGatewayReplicas, *replicas)
}

func validateResources(r corev1.ResourceRequirements) *apis.FieldError {
	errs := above(r.Requests, corev1.ResourceCPU, corev1.ResourceMemory).ViaField("requests").Also(
		above(r.Limits, corev1.ResourceMemory).ViaField("limits"))
	if len(r.Claims) > 0 {
		errs = errs.Also(apis.ErrDisallowedFields("claims"))
	}
	request, requested := r.Requests[corev1.ResourceMemory]
	if limit, limited := r.Limits[corev1.ResourceMemory]; requested && limited && limit.Cmp(request) < 0 {
		errs = errs.Also(invalid("limits[memory]", "is %s, must be at least what is requested, which is %s", &limit, &request))
	}
	return errs
}

// above wants resources of the allowed names, each more than nothing. CPU has no
// limit: throttling would show as latency of every Model behind the gateway.
func above(list corev1.ResourceList, allowed ...corev1.ResourceName) *apis.FieldError {
	var errs *apis.FieldError
	for name, quantity := range list {
		if !slices.Contains(allowed, name) {
			errs = errs.Also(invalid(apis.CurrentField, "a gateway's pod can't have this set, only %v", allowed).ViaKey(string(name)))
		} else if quantity.Sign() <= 0 {
			errs = errs.Also(invalid(apis.CurrentField, "must be above zero, is %s", &quantity).ViaKey(string(name)))
		}
	}
	return errs
}

func (s *TenantSpec) validateTLS() *apis.FieldError {
	if s.TLS == nil {
		return nil
	}
	var errs *apis.FieldError
	if s.Domain == "" {
		errs = errs.Also(&apis.FieldError{
			Message: "missing field(s)", Paths: []string{"domain"},
			Details: "tls serves the hosts of the tenant's own domain; set it, or remove tls",
		})
	}
	return errs.Also(s.TLS.validate(s.Namespaces).ViaField("tls"))
}

func (t *TenantTLS) validate(namespaces TenantNamespaces) *apis.FieldError {
	var errs *apis.FieldError
	if t.SecretName == "" {
		errs = errs.Also(apis.ErrMissingField("secretName"))
	} else if problems := validation.NameIsDNSSubdomain(t.SecretName, false); len(problems) > 0 {
		errs = errs.Also(invalid("secretName", "%q is no Secret's name: %s", t.SecretName, strings.Join(problems, "; ")))
	}
	// Of a namespace that is selected, the reconciler tells whether it is held.
	if ns := t.SecretNamespace; ns != "" && ns != sluice.SystemNamespace && namespaces.Selector == nil && !slices.Contains(namespaces.Names, ns) {
		errs = errs.Also(invalid("secretNamespace", "must be %s or one of spec.namespaces.names, is %q", sluice.SystemNamespace, ns))
	}
	switch t.HTTPProtocol {
	case "", HTTPEnabled, HTTPRedirected:
	default:
		errs = errs.Also(invalid("httpProtocol", "must be %s or %s, is %q", HTTPEnabled, HTTPRedirected, t.HTTPProtocol))
	}
	return errs
}

func (l *TenantLimits) validate() *apis.FieldError {
	errs := atLeast("models", l.Models, 1).Also(atLeast("maxReplicas", l.MaxReplicas, 1))
	if q := l.RequestsPerSecond; q != nil && q.Cmp(resource.MustParse(minRatePerReplica)) < 0 {
		errs = errs.Also(invalid("requestsPerSecond", "must be at least %s, is %s; remove it for no cap", minRatePerReplica, decimal(*q)))
	}
	return errs
}

// ConflictsWith says where the spec asks for what another Tenant asks for or has:
// a namespace, or a domain that is equal to, under, or above another's. It is nil
// where there is no such thing, and doesn't say who came first.
func (t *Tenant) ConflictsWith(others []*Tenant) *apis.FieldError {
	var errs *apis.FieldError
	for _, other := range others {
		if other.Name == t.Name {
			continue
		}
		for i, name := range t.Spec.Namespaces.Names {
			if slices.Contains(other.Spec.Namespaces.Names, name) || other.Holds(name) {
				errs = errs.Also(invalid(apis.CurrentField, "namespace %q is tenant %q's; take it from there first", name, other.Name).
					ViaFieldIndex("names", i).ViaField("spec", "namespaces"))
			}
		}
		if other.domainCounts() && t.DomainOverlaps(other) {
			errs = errs.Also(invalid("spec.domain", "%s; choose one beside it", t.overlap(other)))
		}
	}
	return errs
}

// DomainOverlaps tells whether both have a domain and one is, or is part of, the
// other.
func (t *Tenant) DomainOverlaps(other *Tenant) bool {
	return t.Spec.Domain != "" && other.Spec.Domain != "" && domainsOverlap(t.Spec.Domain, other.Spec.Domain)
}

func (t *Tenant) overlap(other *Tenant) string {
	mine, theirs := t.Spec.Domain, other.Spec.Domain
	switch {
	case mine == theirs:
		return fmt.Sprintf("%q is the domain of tenant %q", mine, other.Name)
	case len(mine) > len(theirs):
		return fmt.Sprintf("%q is part of %q, the domain of tenant %q", mine, theirs, other.Name)
	default:
		return fmt.Sprintf("%q holds %q, the domain of tenant %q", mine, theirs, other.Name)
	}
}

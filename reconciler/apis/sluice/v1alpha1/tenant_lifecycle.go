package v1alpha1

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

const (
	// TenantConditionReady is true when every other condition is, those of
	// severity Info left out.
	TenantConditionReady = apis.ConditionReady
	// TenantConditionNamespacesHeld is true when the tenant holds every namespace
	// that it names or selects.
	TenantConditionNamespacesHeld apis.ConditionType = "NamespacesHeld"
	// TenantConditionGatewayReady is true when the address leads to the gateway
	// that is wanted and that gateway has ready pods.
	TenantConditionGatewayReady apis.ConditionType = "GatewayReady"
	// TenantConditionAddressReady is true when the address is known.
	TenantConditionAddressReady apis.ConditionType = "AddressReady"
	// TenantConditionDomainReady is true when the domain is the tenant's alone and
	// Knative gives it to its namespaces, or none is asked for.
	TenantConditionDomainReady apis.ConditionType = "DomainReady"
	// TenantConditionCertificateReady is true when the certificate is served, or
	// none is asked for.
	TenantConditionCertificateReady apis.ConditionType = "CertificateReady"
	// TenantConditionGatewayScaling says, for information, whether the gateway's pods
	// can follow the CPU that they use.
	TenantConditionGatewayScaling apis.ConditionType = "GatewayScaling"
	// TenantConditionWithinCaps says, for information, whether the Models are within
	// spec.limits: what was there before a cap was lowered goes on. What is no Model's
	// can't be, and isn't served.
	TenantConditionWithinCaps apis.ConditionType = "WithinCaps"
)

var tenantConditions = apis.NewLivingConditionSet(
	TenantConditionNamespacesHeld, TenantConditionGatewayReady, TenantConditionAddressReady,
	TenantConditionDomainReady, TenantConditionCertificateReady)

// GetConditionSet returns the conditions that Ready is made of.
func (*Tenant) GetConditionSet() apis.ConditionSet { return tenantConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*Tenant) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("Tenant")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (t *Tenant) GetStatus() *duckv1.Status { return &t.Status.Status }

// IsReady is true when the status speaks of this generation and is Ready.
func (t *Tenant) IsReady() bool {
	return t.Generation == t.Status.ObservedGeneration && t.Status.GetCondition(TenantConditionReady).IsTrue()
}

// InitializeConditions sets every condition that is not there yet to Unknown.
func (s *TenantStatus) InitializeConditions() { tenantConditions.Manage(s).InitializeConditions() }

// MarkNamespacesHeld says that the tenant holds all it asks for. Those that don't
// exist are only told of: they may come later.
func (s *TenantStatus) MarkNamespacesHeld(missing []string) {
	if len(missing) > 0 {
		tenantConditions.Manage(s).MarkTrueWithReason(TenantConditionNamespacesHeld, "NamespacesMissing",
			"These don't exist yet: %s.", strings.Join(missing, ", "))
		return
	}
	tenantConditions.Manage(s).MarkTrue(TenantConditionNamespacesHeld)
}

// MarkNamespacesLost names the tenants that have what this one asks for too, by
// namespace.
func (s *TenantStatus) MarkNamespacesLost(holders map[string]string) {
	var lost []string
	for _, namespace := range slices.Sorted(maps.Keys(holders)) {
		lost = append(lost, fmt.Sprintf("%q is tenant %q's", namespace, holders[namespace]))
	}
	tenantConditions.Manage(s).MarkFalse(TenantConditionNamespacesHeld, "HeldByAnother",
		"Namespace %s. Take it from that tenant's spec.namespaces, or from this one's.", strings.Join(lost, ", "))
}

// MarkGatewayReady says that the address leads to the gateway that is wanted.
func (s *TenantStatus) MarkGatewayReady() {
	tenantConditions.Manage(s).MarkTrue(TenantConditionGatewayReady)
}

// MarkGatewayPending says what the gateway that is wanted waits for.
func (s *TenantStatus) MarkGatewayPending(reason, message string) {
	tenantConditions.Manage(s).MarkUnknown(TenantConditionGatewayReady, reason, "%s", message)
}

// MarkGatewayFailed says why the gateway that is wanted doesn't come up, and who
// serves the tenant meanwhile.
func (s *TenantStatus) MarkGatewayFailed(message string) {
	tenantConditions.Manage(s).MarkFalse(TenantConditionGatewayReady, "GatewayNotStarting",
		"%s Until then the tenant is served by gateway %s.", message, s.Gateway)
}

// MarkNoGatewayPods says that nothing serves the tenant.
func (s *TenantStatus) MarkNoGatewayPods(message string) {
	tenantConditions.Manage(s).MarkFalse(TenantConditionGatewayReady, "NoGatewayPods", "%s", message)
}

// MarkAddress takes over where the tenant is reached; external is empty until the
// cluster has given it an address.
func (s *TenantStatus) MarkAddress(service, external, internal string) {
	s.Address = &TenantAddress{External: external, Internal: internal}
	if external == "" {
		tenantConditions.Manage(s).MarkUnknown(TenantConditionAddressReady, reasonPending,
			"Waiting for the cluster to give Service %s an address; it needs something that serves Services of type LoadBalancer.", service)
		return
	}
	tenantConditions.Manage(s).MarkTrue(TenantConditionAddressReady)
}

// MarkAddressNotWritten says why there is no address.
func (s *TenantStatus) MarkAddressNotWritten(err error) {
	s.markNotWritten(TenantConditionAddressReady, err)
}

// MarkDomainReady says that a domain is in force, "" where none is asked for.
func (s *TenantStatus) MarkDomainReady(domain string) {
	s.Domain = domain
	tenantConditions.Manage(s).MarkTrue(TenantConditionDomainReady)
}

// MarkDomainRefused says why the domain that is asked for can't be the tenant's. None
// is in force.
func (s *TenantStatus) MarkDomainRefused(reason, message string) {
	s.Domain = ""
	tenantConditions.Manage(s).MarkFalse(TenantConditionDomainReady, reason, "%s", message)
}

// MarkDomainNotWritten says why Knative could not be told of the domain.
func (s *TenantStatus) MarkDomainNotWritten(err error) {
	s.markNotWritten(TenantConditionDomainReady, err)
}

// MarkCertificateReady says that the certificate is served, or that none is asked
// for. Hosts that it isn't good for are told of: their clients refuse it.
func (s *TenantStatus) MarkCertificateReady(uncovered []string) {
	if len(uncovered) > 0 {
		tenantConditions.Manage(s).MarkTrueWithReason(TenantConditionCertificateReady, "HostsNotCovered",
			"The certificate is not good for %s: clients will refuse it there. Give the Secret one that names them.", strings.Join(uncovered, ", "))
		return
	}
	tenantConditions.Manage(s).MarkTrue(TenantConditionCertificateReady)
}

// MarkCertificateFailed says why the certificate that is asked for isn't served.
func (s *TenantStatus) MarkCertificateFailed(reason, format string, args ...any) {
	tenantConditions.Manage(s).MarkFalse(TenantConditionCertificateReady, reason, format, args...)
}

// MarkCertificateNotWritten says why the gateways could not be given it.
func (s *TenantStatus) MarkCertificateNotWritten(err error) {
	s.markNotWritten(TenantConditionCertificateReady, err)
}

// MarkScaling says that the gateway's pods follow their CPU, or need not.
func (s *TenantStatus) MarkScaling(reason, message string) {
	tenantConditions.Manage(s).MarkTrueWithReason(TenantConditionGatewayScaling, reason, "%s", message)
}

// MarkScalingPending says that it isn't known yet.
func (s *TenantStatus) MarkScalingPending(message string) {
	tenantConditions.Manage(s).MarkUnknown(TenantConditionGatewayScaling, reasonPending, "%s", message)
}

// MarkNotScaling says why the gateway keeps the pods that it has.
func (s *TenantStatus) MarkNotScaling(reason, message string) {
	tenantConditions.Manage(s).MarkFalse(TenantConditionGatewayScaling, reason, "%s", message)
}

// MarkCaps says whether the Models keep to spec.limits: over are those that they are
// above, and refused the Ingresses of no Model, which can't be held to any.
func (s *TenantStatus) MarkCaps(over, refused []string) {
	reason, says := "OverCaps", []string{}
	if len(over) > 0 {
		says = append(says, strings.Join(over, "; ")+". What was there before goes on; what is new is refused.")
	}
	if len(refused) > 0 {
		says = append(says, fmt.Sprintf("Only Models can be held to spec.limits, so these %d Ingresses are not served: %s. "+
			"Make them Models, or have them served by another ingress class.", len(refused), strings.Join(refused[:min(maxNamed, len(refused))], ", ")))
	}
	switch {
	case len(says) == 0:
		tenantConditions.Manage(s).MarkTrue(TenantConditionWithinCaps)
		return
	case len(over) == 0:
		reason = ReasonTenantCapped
	}
	tenantConditions.Manage(s).MarkFalse(TenantConditionWithinCaps, reason, "%s", strings.Join(says, " "))
}

// markNotWritten says nothing where a write lost a race, which is tried again at once.
func (s *TenantStatus) markNotWritten(condition apis.ConditionType, err error) {
	if !apierrs.IsConflict(err) && !apierrs.IsAlreadyExists(err) {
		tenantConditions.Manage(s).MarkUnknown(condition, reasonNotWritten, "%v", err)
	}
}

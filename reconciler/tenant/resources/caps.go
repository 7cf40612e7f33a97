package resources

import (
	"fmt"
	"slices"
	"strings"

	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// OverCaps says which of a tenant's caps its Models are above. Their limits can't
// be: those are scaled down.
func OverCaps(caps v1alpha1.TenantLimits, models []*v1alpha1.Model) []string {
	var over []string
	if most := caps.Models; most != nil && len(models) > int(*most) {
		over = append(over, fmt.Sprintf("there are %d Models, spec.limits.models is %d", len(models), *most))
	}
	if caps.MaxReplicas == nil {
		return over
	}
	var sum int64
	var unbounded []string
	for _, m := range models {
		if replicas := m.ClaimedReplicas(); replicas == v1alpha1.UnboundedReplicas {
			unbounded = append(unbounded, m.Namespace+"/"+m.Name)
		} else {
			sum += replicas
		}
	}
	if sum > int64(*caps.MaxReplicas) {
		over = append(over, fmt.Sprintf("the Models' maxReplicas add up to %d, spec.limits.maxReplicas is %d", sum, *caps.MaxReplicas))
	}
	if len(unbounded) > 0 {
		slices.Sort(unbounded)
		over = append(over, fmt.Sprintf("%d Models set no maxReplicas, which spec.limits.maxReplicas asks of each: %s",
			len(unbounded), strings.Join(unbounded[:min(shown, len(unbounded))], ", ")))
	}
	return over
}

// NotCapped names the Ingresses, sorted, that are not served because they are no Models'
// and so can't be held to the tenant's caps.
func NotCapped(ingresses []*netv1alpha1.Ingress) []string {
	var refused []string
	for _, ing := range ingresses {
		condition := ing.Status.GetCondition(netv1alpha1.IngressConditionNetworkConfigured)
		if condition.IsFalse() && condition.Reason == v1alpha1.ReasonTenantCapped {
			refused = append(refused, ing.Namespace+"/"+ing.Name)
		}
	}
	slices.Sort(refused)
	return refused
}

package resources

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// RateLimit is what the limiter is told of a Model whose defaults are set: what a
// replica serves, the policy, how its Knative Service splits the requests now, and
// what the tenant has to do with it.
func RateLimit(m *v1alpha1.Model, t *v1alpha1.Tenant, service *servingv1.Service) *v1alpha1.RateLimit {
	limit := m.Spec.Limit.DeepCopy()
	out := &v1alpha1.RateLimit{
		ObjectMeta: metav1.ObjectMeta{
			Name:            m.Name,
			Namespace:       m.Namespace,
			Labels:          Labels(m, t),
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(m)},
		},
		Spec: v1alpha1.RateLimitSpec{
			Gateways: t.GatewaysOf(m.Namespace),
			// A Knative Service's Ingress has the Service's name.
			VirtualService:              gateway.VirtualServiceName(service.Namespace, service.Name),
			RequestsPerSecondPerReplica: *limit.RequestsPerSecondPerReplica,
			Burst:                       *limit.Burst,
			Policy:                      limit.Policy,
			HeadroomPercent:             *limit.HeadroomPercent,
			Traffic:                     traffic(service),
			Cap:                         rateCap(t),
		},
	}
	if limit.Queue != nil {
		out.Spec.Queue = &limit.Queue.Wait
	}
	return out
}

func rateCap(t *v1alpha1.Tenant) *v1alpha1.RateLimitCap {
	if t == nil || t.Spec.Limits.RequestsPerSecond == nil {
		return nil
	}
	return &v1alpha1.RateLimitCap{Name: t.Name, RequestsPerSecond: t.Spec.Limits.RequestsPerSecond.DeepCopy()}
}

// traffic sums the percentages by revision: a revision can be named by several
// targets. Those with a tag may have no percentage; requests come to them by the
// tag. Sorted by name, so that a reordering of targets is no change.
func traffic(service *servingv1.Service) []v1alpha1.RevisionTraffic {
	byName := map[string]v1alpha1.RevisionTraffic{}
	for _, target := range service.Status.Traffic {
		of := byName[target.RevisionName]
		of.Revision = target.RevisionName
		if target.Percent != nil {
			of.Percent += int32(*target.Percent)
		}
		of.Tagged = of.Tagged || target.Tag != ""
		if of.Revision != "" && (of.Percent > 0 || of.Tagged) {
			byName[of.Revision] = of
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b v1alpha1.RevisionTraffic) int {
		return cmp.Compare(a.Revision, b.Revision)
	})
}

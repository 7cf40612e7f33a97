package resources

import (
	"fmt"
	"slices"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/routing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Routes are what is served in a namespace.
type Routes struct {
	// Ingresses of our class.
	Ingresses []*netv1alpha1.Ingress
	// VirtualServices that serve them.
	VirtualServices []*istiov1.VirtualService
	// RateLimits of the Models.
	RateLimits []*v1alpha1.RateLimit
}

// Idle tells whether nothing is served, nor will be soon.
func (r Routes) Idle() bool { return len(r.Ingresses)+len(r.VirtualServices) == 0 }

// Unproved names what was not seen yet on every one of the gateways, sorted, and
// the Ingresses that publish another address.
//
// What was never served doesn't count: an Ingress whose host is refused has no
// VirtualService, one that is new or broken has none that was ever proved, and a
// limit counts as its routes do. Moving a tenant takes nothing from them, and they
// must not hold it up for ever.
func (r Routes) Unproved(gateways []string, address string) []string {
	var out []string
	written, counts := map[string]bool{}, map[string]bool{}
	for _, vs := range r.VirtualServices {
		written[vs.Name] = true
		proof := routing.ProofOf(vs)
		if !proof.Ever || vs.DeletionTimestamp != nil {
			continue
		}
		counts[vs.Name] = true
		if !proof.On(gateways) {
			out = append(out, "route "+vs.Name)
		}
	}
	for _, ing := range r.Ingresses {
		name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
		switch {
		case ing.DeletionTimestamp != nil || !ing.Status.GetCondition(netv1alpha1.IngressConditionReady).IsTrue():
		case !written[name]:
			out = append(out, "route "+name)
		case !routing.Publishes(ing, address):
			out = append(out, "address of "+name)
		}
	}
	for _, limit := range r.RateLimits {
		proved := limit.IsReady() && slices.Equal(limit.Spec.Gateways, gateways)
		if counts[limit.Spec.VirtualService] && !proved {
			out = append(out, fmt.Sprintf("limit %s/%s", limit.Namespace, limit.Name))
		}
	}
	slices.Sort(out)
	return out
}

// shown is how many names a message gives.
const shown = 3

// Awaiting says what is waited for, by its first few names; empty where nothing is.
func Awaiting(names []string, gateways []string) string {
	if len(names) == 0 {
		return ""
	}
	more := ""
	if rest := len(names) - shown; rest > 0 {
		more = fmt.Sprintf(" and %d more", rest)
	}
	return fmt.Sprintf("Waiting to see on %s: %s%s.",
		strings.Join(gateways, " and "), strings.Join(names[:min(shown, len(names))], ", "), more)
}

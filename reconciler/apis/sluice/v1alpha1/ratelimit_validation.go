package v1alpha1

import (
	"fmt"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// CheckVirtualService returns an error where a RateLimit isn't about the virtual
// service of its own namespace and name: another's limit is nobody's to set. No two
// RateLimits share one then. Admission refuses such a RateLimit already (config/core);
// the limiter refuses it again.
func (r *RateLimit) CheckVirtualService() error {
	if own := gateway.VirtualServiceName(r.Namespace, r.Name); r.Spec.VirtualService != own {
		return fmt.Errorf("spec.virtualService is %q, which is not this RateLimit's to limit: want %q, for its own namespace and name",
			r.Spec.VirtualService, own)
	}
	return nil
}

package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// SplitHeader is the response header by which a gateway pod tells our own prober by
// what it splits an Ingress' requests.
const SplitHeader = "X-Sluice-Split"

// splitRoute is the name of those routes of a VirtualService that are to be split by
// its Ingress' key; no other VirtualService has one of that name. It says nothing of the tenant,
// or VirtualService and filter had to change together where that one changes.
func splitRoute(ing *v1alpha1.Ingress) string { return Binding{}.routeName(ing, gateway.Splitting) }

// SplitDigest is what a gateway pod that splits by a key answers as SplitHeader; "" of
// no key.
func SplitDigest(key *sluicev1alpha1.SplitKey) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(key.String()))
	return hex.EncodeToString(sum[:8])
}

// SplitFilter returns the EnvoyFilter that has the gateways split an Ingress' requests
// by a key, which Istio can't say: Envoy takes a hash of the key's value, modulo the
// sum of the weights, for the random number by which it chooses a destination. It is
// the same on every pod, and none of them keeps anything.
//
// The VirtualService says by the names of its routes which of them that is for. So
// this object stays as it is when the percentages change, and neither has to wait for
// the other. A route with one destination has no weights, and Envoy would refuse it if
// it were to split them; it never has the name.
func SplitFilter(ing *v1alpha1.Ingress, binding Binding) (*istiov1alpha3.EnvoyFilter, error) {
	name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	out := &istiov1alpha3.EnvoyFilter{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: gateway.Namespace, Labels: Labels(ing, binding.Tenant)},
	}
	for _, change := range []struct {
		route string
		merge map[string]any
	}{
		{splitRoute(ing), map[string]any{
			"name": binding.routeName(ing, gateway.Splitting), // for the log
			"route": map[string]any{
				"weighted_clusters": map[string]any{"use_hash_policy": true},
				"hash_policy":       []any{hashPolicy(binding.SplitBy)},
			},
		}},
		{probeRoute(name), map[string]any{"response_headers_to_add": []any{map[string]any{
			"header": map[string]any{"key": SplitHeader, "value": SplitDigest(binding.SplitBy)},
		}}}},
	} {
		merge, err := structpb.NewStruct(change.merge)
		if err != nil {
			return nil, fmt.Errorf("writing the change of route %s: %w", change.route, err)
		}
		out.Spec.ConfigPatches = append(out.Spec.ConfigPatches, routePatch(change.route, merge))
	}
	return out, nil
}

// hashPolicy is Envoy's name for a key (config.route.v3.RouteAction.HashPolicy).
func hashPolicy(key *sluicev1alpha1.SplitKey) map[string]any {
	if key.Header != "" {
		return map[string]any{"header": map[string]any{"header_name": key.Header}}
	}
	return map[string]any{"cookie": map[string]any{"name": key.Cookie}}
}

// routePatch merges something into the routes of a name, on all gateways.
func routePatch(route string, merge *structpb.Struct) *istioapi.EnvoyFilter_EnvoyConfigObjectPatch {
	return &istioapi.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: istioapi.EnvoyFilter_HTTP_ROUTE,
		Match: &istioapi.EnvoyFilter_EnvoyConfigObjectMatch{
			Context: istioapi.EnvoyFilter_GATEWAY,
			ObjectTypes: &istioapi.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{
				RouteConfiguration: &istioapi.EnvoyFilter_RouteConfigurationMatch{
					Vhost: &istioapi.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{
						Route: &istioapi.EnvoyFilter_RouteConfigurationMatch_RouteMatch{Name: route},
					},
				},
			},
		},
		Patch: &istioapi.EnvoyFilter_Patch{Operation: istioapi.EnvoyFilter_Patch_MERGE, Value: merge},
	}
}

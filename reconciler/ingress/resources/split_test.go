package resources

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"sigs.k8s.io/yaml"

	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Merged into the routes that istiod makes of a VirtualService with the names, the
// patches give what Envoy accepts, and what splits by the key.
func TestSplitFilterMerges(t *testing.T) {
	ing := &v1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker"}}
	for name, key := range map[string]*sluicev1alpha1.SplitKey{
		"header": {Header: "x-50%-user"},
		"cookie": {Cookie: "uid"},
	} {
		t.Run(name, func(t *testing.T) {
			filter, err := SplitFilter(ing, Binding{Tenant: "acme", SplitBy: key})
			if err != nil {
				t.Fatal(err)
			}
			routes := map[string]*routev3.Route{
				"-/team/ranker/split": made(t, `{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
					{"name": "a", "weight": 70}, {"name": "b", "weight": 30}]}}}`),
				"sluice-probe.team.ranker": made(t, `{"match": {"prefix": "/probe"}, "direct_response": {"status": 200},
					"response_headers_to_add": [{"header": {"key": "K-Network-Hash", "value": "1"}}]}`),
			}
			for _, patch := range filter.Spec.ConfigPatches {
				name := patch.Match.GetRouteConfiguration().GetVhost().GetRoute().GetName()
				route, ok := routes[name]
				if !ok {
					t.Fatalf("patches route %q", name)
				}
				data, err := protojson.Marshal(patch.Patch.Value)
				if err != nil {
					t.Fatal(err)
				}
				change := &routev3.Route{}
				if err := protojson.Unmarshal(data, change); err != nil {
					t.Fatal(err)
				}
				proto.Merge(route, change)
				if err := route.ValidateAll(); err != nil {
					t.Errorf("Envoy would refuse route %s: %v", name, err)
				}
			}
			if name := routes["-/team/ranker/split"].GetName(); name != "acme/team/ranker/split" {
				t.Errorf("is logged as %q", name)
			}
			split := routes["-/team/ranker/split"].GetRoute()
			if weights := split.GetWeightedClusters(); len(weights.GetClusters()) != 2 || !weights.GetUseHashPolicy().GetValue() || len(split.GetHashPolicy()) != 1 {
				t.Errorf("splits as %v", split)
			}
			if policy := split.GetHashPolicy()[0]; policy.GetHeader().GetHeaderName() != key.Header || policy.GetCookie().GetName() != key.Cookie || policy.GetCookie().GetTtl() != nil {
				t.Errorf("splits by %v, want %v", policy, key)
			}
			if told := routes["sluice-probe.team.ranker"].GetResponseHeadersToAdd(); len(told) != 2 || told[1].GetHeader().GetValue() != SplitDigest(key) {
				t.Errorf("tells %v", told)
			}
		})
	}
}

func TestSplitFilterGolden(t *testing.T) {
	ing := &v1alpha1.Ingress{}
	read(t, "testdata/split.in.yaml", ing)
	filter, err := SplitFilter(ing, bindingOf(t, "testdata/split.binding.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(filter)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/split-filter.out.yaml", got)
}

func made(t *testing.T, text string) *routev3.Route {
	t.Helper()
	route := &routev3.Route{}
	if err := protojson.Unmarshal([]byte(text), route); err != nil {
		t.Fatal(err)
	}
	return route
}

// Package resources turns a Knative Ingress into the VirtualService that serves
// it. Pure functions: no client, lister or clock.
package resources

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/http/header"
	"knative.dev/networking/pkg/ingress"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// IngressNamespaceLabelKey names the namespace of the Ingress that a
	// VirtualService serves, beside Knative's networking.IngressLabelKey.
	IngressNamespaceLabelKey = networking.GroupName + "/ingress-namespace"

	probeRoute = "sluice-probe"
)

// Binding is where an Ingress is served.
type Binding struct {
	// External and Local are the Istio Gateways, "<namespace>/<name>", of the
	// rules for callers outside and inside the cluster.
	External, Local string
	// ProbePath is the path prefix of our own prober's requests.
	ProbePath string
}

// gatewayOf returns the Istio Gateway that serves rules of a visibility.
func (b Binding) gatewayOf(visibility v1alpha1.IngressVisibility) string {
	if visibility == v1alpha1.IngressVisibilityClusterLocal {
		return b.Local
	}
	return b.External
}

// VirtualService returns the VirtualService that serves an Ingress, and its
// generation: a digest of all that it says, which a probe of any of its hosts
// gets as response header K-Network-Hash. It neither reads nor changes ing's
// status. Where TLS is served, its servers belong in the Binding.
func VirtualService(ing *v1alpha1.Ingress, binding Binding) (*istiov1.VirtualService, string, error) {
	// Doubles every path by one that answers "K-Network-Hash: override".
	routed := ing.DeepCopy()
	if _, err := ingress.InsertProbe(routed); err != nil {
		return nil, "", fmt.Errorf("inserting the network probe: %w", err)
	}
	vs := &istiov1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{
			Name:      gateway.VirtualServiceName(ing.Namespace, ing.Name),
			Namespace: gateway.Namespace,
			Labels:    labels(ing),
		},
		Spec: istioapi.VirtualService{ExportTo: []string{"."}},
	}
	hosts, gateways := sets.New[string](), sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		hosts.Insert(rule.Hosts...)
		gateways.Insert(binding.gatewayOf(rule.Visibility))
	}
	vs.Spec.Hosts, vs.Spec.Gateways = sets.List(hosts), sets.List(gateways)
	for _, rule := range routed.Spec.Rules {
		authorities := authorityMatches(rule.Hosts, vs.Spec.Hosts)
		for _, path := range rule.HTTP.Paths {
			route, err := httpRoute(path, binding.gatewayOf(rule.Visibility), authorities)
			if err != nil {
				return nil, "", err
			}
			vs.Spec.Http = append(vs.Spec.Http, route)
		}
	}
	generation, err := digest(&vs.Spec)
	if err != nil {
		return nil, "", err
	}
	vs.Spec.Http = append([]*istioapi.HTTPRoute{probe(binding.ProbePath, generation)}, vs.Spec.Http...)
	return vs, generation, nil
}

// IngressOf returns whose VirtualService that is; false if it serves none. It
// goes by the name, which unlike a label can't be too short for the Ingress'.
func IngressOf(virtualServiceName string) (namespace, name string, ok bool) {
	return strings.Cut(virtualServiceName, ".")
}

func labels(ing *v1alpha1.Ingress) map[string]string {
	out := map[string]string{
		sluice.ManagedByLabelKey:   sluice.ManagedBy,
		networking.IngressLabelKey: kmeta.ChildName(ing.Name, ""), // shortened to 63 where it is longer
		IngressNamespaceLabelKey:   ing.Namespace,
	}
	for _, key := range []string{sluice.ModelLabelKey, sluice.TenantLabelKey} {
		if value, ok := ing.Labels[key]; ok {
			out[key] = value
		}
	}
	return out
}

// probe answers our own prober on every host and entry, in the gateway itself:
// asking never reaches a backend, so it wakes none that is at zero.
func probe(path, generation string) *istioapi.HTTPRoute {
	return &istioapi.HTTPRoute{
		Name:           probeRoute,
		Match:          []*istioapi.HTTPMatchRequest{{Uri: prefix(path + "/")}},
		DirectResponse: &istioapi.HTTPDirectResponse{Status: http.StatusOK},
		Headers: &istioapi.Headers{
			Response: &istioapi.Headers_HeaderOperations{Set: map[string]string{header.HashKey: generation}},
		},
	}
}

func httpRoute(path v1alpha1.HTTPIngressPath, gatewayName string, authorities []*istioapi.StringMatch) (*istioapi.HTTPRoute, error) {
	route := &istioapi.HTTPRoute{
		// A retry would hide the backend's first answer, which is the client's.
		Retries: &istioapi.HTTPRetry{Attempts: 0},
		// No timeout: Knative's own, in the activator and queue-proxy, are exact.
	}
	for _, authority := range authorities {
		match := &istioapi.HTTPMatchRequest{Gateways: []string{gatewayName}, Authority: authority}
		if path.Path != "" {
			match.Uri = prefix(path.Path)
		}
		for name, value := range path.Headers {
			if match.Headers == nil {
				match.Headers = map[string]*istioapi.StringMatch{}
			}
			match.Headers[strings.ToLower(name)] = exact(value.Exact)
		}
		route.Match = append(route.Match, match)
	}
	if path.RewriteHost != "" {
		route.Rewrite = &istioapi.HTTPRewrite{Authority: path.RewriteHost}
	}
	for _, split := range path.Splits {
		destination, err := routeDestination(split, path.AppendHeaders)
		if err != nil {
			return nil, err
		}
		if len(path.Splits) == 1 {
			destination.Weight = 100 // a split alone may leave its share out
		}
		if destination.Weight > 0 {
			route.Route = append(route.Route, destination)
		}
	}
	return route, nil
}

// routeDestination sends a split's share to its Service. The headers of a path
// and of its split are both set on the destination, the split's last: set at two
// levels, which of them wins would be Envoy's choice.
func routeDestination(
	split v1alpha1.IngressBackendSplit, pathHeaders map[string]string,
) (*istioapi.HTTPRouteDestination, error) {
	if split.ServicePort.Type != intstr.Int {
		return nil, fmt.Errorf("service %s/%s: port %q must be a number",
			split.ServiceNamespace, split.ServiceName, split.ServicePort.StrVal)
	}
	destination := &istioapi.HTTPRouteDestination{
		Destination: &istioapi.Destination{
			Host: network.GetServiceHostname(split.ServiceName, split.ServiceNamespace),
			Port: &istioapi.PortSelector{Number: uint32(split.ServicePort.IntVal)},
		},
		Weight: int32(split.Percent),
	}
	set := map[string]string{}
	for _, from := range []map[string]string{pathHeaders, split.AppendHeaders} {
		for name, value := range from {
			set[http.CanonicalHeaderKey(name)] = value
		}
	}
	if len(set) > 0 {
		destination.Headers = &istioapi.Headers{Request: &istioapi.Headers_HeaderOperations{Set: set}}
	}
	return destination, nil
}

// authorityMatches returns the conditions on :authority, any one of which is
// enough, that hold for the hosts of a rule, with any port or none, and for no
// other of the virtual service's hosts. All routes of a VirtualService are tried
// for each of its hosts, so without them an external rule would serve
// cluster-local hosts, and the reverse.
//
// A plain prefix costs one comparison and covers both forms; it serves unless it
// begins some other host too.
func authorityMatches(ruleHosts, allHosts []string) []*istioapi.StringMatch {
	mine := sets.New(ruleHosts...)
	hosts := sets.List(mine) // shorter ones before those that they begin
	var matches []*istioapi.StringMatch
	var covering []string
	for _, host := range hosts {
		if beginsWithAny(host, covering) {
			continue
		}
		if beginsForeign(host, mine, allHosts) {
			matches = append(matches, exact(host), prefix(host+":"))
			continue
		}
		covering = append(covering, host)
		matches = append(matches, prefix(host))
	}
	return matches
}

func beginsWithAny(host string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(host, p) {
			return true
		}
	}
	return false
}

// beginsForeign tells whether host begins a host of another rule.
func beginsForeign(host string, mine sets.Set[string], allHosts []string) bool {
	i := sort.SearchStrings(allHosts, host) // what it begins follows it
	for ; i < len(allHosts) && strings.HasPrefix(allHosts[i], host); i++ {
		if !mine.Has(allHosts[i]) {
			return true
		}
	}
	return false
}

// digest is stable over processes: protojson sorts maps, and the spaces it adds
// at random are taken out.
func digest(spec *istioapi.VirtualService) (string, error) {
	data, err := protojson.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("writing the virtual service as JSON: %w", err)
	}
	var canonical bytes.Buffer
	if err := json.Compact(&canonical, data); err != nil {
		return "", fmt.Errorf("compacting the virtual service's JSON: %w", err)
	}
	sum := sha256.Sum256(canonical.Bytes())
	return hex.EncodeToString(sum[:]), nil
}

func exact(value string) *istioapi.StringMatch {
	return &istioapi.StringMatch{MatchType: &istioapi.StringMatch_Exact{Exact: value}}
}

func prefix(value string) *istioapi.StringMatch {
	return &istioapi.StringMatch{MatchType: &istioapi.StringMatch_Prefix{Prefix: value}}
}

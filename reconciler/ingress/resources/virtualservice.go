// Package resources turns a Knative Ingress into the VirtualService that serves
// it. Pure functions: no client, lister or clock.
package resources

import (
	"fmt"
	"net/http"
	"sort"
	"strings"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/ingress"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// IngressNamespaceLabelKey names the namespace of the Ingress that a
// VirtualService serves, beside Knative's networking.IngressLabelKey.
const IngressNamespaceLabelKey = networking.GroupName + "/ingress-namespace"

// Binding is where an Ingress is served.
type Binding struct {
	// External and Local are the Istio Gateways, "<namespace>/<name>", of the
	// rules for callers outside and inside the cluster.
	External, Local string
	// ProbePath is the path prefix of our own prober's requests.
	ProbePath string
	// Aliases are the hosts to send to instead of Services that are only another
	// name for them. istiod would not give a gateway the cluster of such a name.
	Aliases map[types.NamespacedName]string
}

// gatewayOf returns the Istio Gateway that serves rules of a visibility.
func (b Binding) gatewayOf(visibility v1alpha1.IngressVisibility) string {
	if visibility == v1alpha1.IngressVisibilityClusterLocal {
		return b.Local
	}
	return b.External
}

// VirtualService returns the VirtualService that serves an Ingress. It neither
// reads nor changes ing's status. Where TLS is served, its servers belong in the
// Binding.
func VirtualService(ing *v1alpha1.Ingress, binding Binding) (*istiov1.VirtualService, error) {
	// Doubles every path by one that answers "K-Network-Hash: override".
	routed := ing.DeepCopy()
	if _, err := ingress.InsertProbe(routed); err != nil {
		return nil, fmt.Errorf("inserting the network probe: %w", err)
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
			route := httpRoute(path, binding.gatewayOf(rule.Visibility), authorities)
			to, err := destinations(path, binding.Aliases)
			if err != nil {
				return nil, err
			}
			route.Route = to
			vs.Spec.Http = append(vs.Spec.Http, route)
		}
	}
	return sealed(vs, nil, binding.ProbePath)
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

func httpRoute(path v1alpha1.HTTPIngressPath, gatewayName string, authorities []*istioapi.StringMatch) *istioapi.HTTPRoute {
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
	return route
}

// destinations returns where a path's requests go, without the splits of 0 %.
func destinations(path v1alpha1.HTTPIngressPath, aliases map[types.NamespacedName]string) ([]*istioapi.HTTPRouteDestination, error) {
	var out []*istioapi.HTTPRouteDestination
	for _, split := range path.Splits {
		if split.ServicePort.Type != intstr.Int {
			return nil, fmt.Errorf("service %s/%s: port %q must be a number",
				split.ServiceNamespace, split.ServiceName, split.ServicePort.StrVal)
		}
		weight := split.Percent
		if len(path.Splits) == 1 {
			weight = 100
		}
		if weight == 0 {
			continue
		}
		host, ok := aliases[types.NamespacedName{Namespace: split.ServiceNamespace, Name: split.ServiceName}]
		if !ok {
			host = network.GetServiceHostname(split.ServiceName, split.ServiceNamespace)
		}
		out = append(out, &istioapi.HTTPRouteDestination{
			Destination: &istioapi.Destination{
				Host: host,
				Port: &istioapi.PortSelector{Number: uint32(split.ServicePort.IntVal)},
			},
			Weight:  int32(weight),
			Headers: setHeaders(path.AppendHeaders, split.AppendHeaders),
		})
	}
	return out, nil
}

// setHeaders sets the headers of a path and of its split on the split's
// destination, the split's last: set at two levels, which of them wins would be
// Envoy's choice.
func setHeaders(all ...map[string]string) *istioapi.Headers {
	set := map[string]string{}
	for _, headers := range all {
		for name, value := range headers {
			set[http.CanonicalHeaderKey(name)] = value
		}
	}
	if len(set) == 0 {
		return nil
	}
	return &istioapi.Headers{Request: &istioapi.Headers_HeaderOperations{Set: set}}
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

func exact(value string) *istioapi.StringMatch {
	return &istioapi.StringMatch{MatchType: &istioapi.StringMatch_Exact{Exact: value}}
}

func prefix(value string) *istioapi.StringMatch {
	return &istioapi.StringMatch{MatchType: &istioapi.StringMatch_Prefix{Prefix: value}}
}

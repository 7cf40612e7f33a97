// Package resources turns a Knative Ingress into the VirtualService that serves
// it. Pure functions: no client, lister or clock.
package resources

import (
	"fmt"
	"net/http"
	"slices"
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
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// IngressNamespaceLabelKey names the namespace of the Ingress that a
// VirtualService serves, beside Knative's networking.IngressLabelKey.
const IngressNamespaceLabelKey = networking.GroupName + "/ingress-namespace"

// Binding is where an Ingress is served.
type Binding struct {
	// HTTP, HTTPS and Local are the Istio Gateways, "<namespace>/<name>", of each
	// entry: the first two for callers outside the cluster, the third for those
	// inside. Sorted.
	HTTP, HTTPS, Local []string
	// Redirected are, by host, those of HTTP that only redirect it to HTTPS.
	Redirected map[string]sets.Set[string]
	// Tenant holds the Ingress' namespace; "" where none does.
	Tenant string
	// SplitBy tells callers apart where requests are split; nil where they are split by
	// chance.
	SplitBy *sluicev1alpha1.SplitKey
	// ProbePath is the path prefix of our own prober's requests.
	ProbePath string
	// Aliases are the hosts to send to instead of Services that are only another
	// name for them. istiod would not give a gateway the cluster of such a name.
	Aliases map[types.NamespacedName]string
}

// IstioGateways returns those of the binding that an Ingress' rules need, sorted.
func (b Binding) IstioGateways(ing *v1alpha1.Ingress) []string {
	names := sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		if rule.Visibility == v1alpha1.IngressVisibilityClusterLocal {
			names.Insert(b.Local...)
		} else {
			names.Insert(b.HTTP...).Insert(b.HTTPS...)
		}
	}
	return sets.List(names)
}

// routeName is the name of an Ingress' routes of a kind, by which the gateways' log says whose
// each request was.
func (b Binding) routeName(ing *v1alpha1.Ingress, kind string) string {
	return gateway.RouteName{Tenant: b.Tenant, Namespace: ing.Namespace, Name: ing.Name, Kind: kind}.String()
}

// And returns the binding with one Istio Gateway more.
func (b Binding) And(other *istiov1.Gateway) Binding {
	name := other.Namespace + "/" + other.Name
	for _, server := range other.Spec.Servers {
		switch server.GetPort().GetNumber() {
		case gateway.External.Port:
			b.HTTP = with(b.HTTP, name)
		case gateway.Secure.Port:
			b.HTTPS = with(b.HTTPS, name)
		case gateway.Local.Port:
			b.Local = with(b.Local, name)
		}
	}
	return b
}

func with(sorted []string, name string) []string { return sets.List(sets.New(sorted...).Insert(name)) }

// VirtualService returns the VirtualService that serves an Ingress. It neither
// reads nor changes ing's status.
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
			Labels:    Labels(ing, binding.Tenant),
		},
		Spec: istioapi.VirtualService{ExportTo: []string{"."}},
	}
	hosts := sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		hosts.Insert(rule.Hosts...)
	}
	vs.Spec.Hosts, vs.Spec.Gateways = sets.List(hosts), binding.IstioGateways(ing)
	if redirect := binding.redirect(ExternalHosts(ing), vs.Spec.Hosts); redirect != nil {
		redirect.Name = binding.routeName(ing, gateway.Redirecting)
		vs.Spec.Http = append(vs.Spec.Http, redirect)
	}
	for _, rule := range routed.Spec.Rules {
		places := binding.placesOf(rule, vs.Spec.Hosts)
		if len(places) == 0 {
			continue // a route without a condition would serve every host
		}
		for _, path := range rule.HTTP.Paths {
			route := httpRoute(path, places)
			route.Name = binding.routeName(ing, "")
			to, err := destinations(path, binding.Aliases)
			if err != nil {
				return nil, err
			}
			route.Route = to
			if binding.SplitBy != nil && len(to) > 1 {
				route.Name = splitRoute(ing)
			}
			vs.Spec.Http = append(vs.Spec.Http, route)
		}
	}
	return sealed(vs, nil, binding.ProbePath)
}

// place is where a route applies: a condition on :authority and the Istio
// Gateways on which it holds.
type place struct {
	authority *istioapi.StringMatch
	gateways  []string
}

// placesOf returns where the routes of a rule apply.
func (b Binding) placesOf(rule v1alpha1.IngressRule, allHosts []string) []place {
	if rule.Visibility == v1alpha1.IngressVisibilityClusterLocal {
		return placesOn(b.Local, rule.Hosts, allHosts)
	}
	var places []place
	for _, group := range b.byRedirect(rule.Hosts) {
		serving := sets.New(b.HTTP...).Difference(group.redirecting).Insert(b.HTTPS...)
		places = append(places, placesOn(sets.List(serving), group.hosts, allHosts)...)
	}
	return places
}

func placesOn(gateways, hosts, allHosts []string) []place {
	if len(gateways) == 0 {
		return nil // in a match it would mean every one
	}
	var places []place
	for _, authority := range authorityMatches(hosts, allHosts) {
		places = append(places, place{authority: authority, gateways: gateways})
	}
	return places
}

// redirectGroup is the hosts that the same Istio Gateways redirect.
type redirectGroup struct {
	redirecting sets.Set[string]
	hosts       []string
}

func (b Binding) byRedirect(hosts []string) []redirectGroup {
	var groups []redirectGroup
	for _, host := range hosts {
		i := slices.IndexFunc(groups, func(g redirectGroup) bool { return g.redirecting.Equal(b.Redirected[host]) })
		if i < 0 {
			i, groups = len(groups), append(groups, redirectGroup{redirecting: b.Redirected[host]})
		}
		groups[i].hosts = append(groups[i].hosts, host)
	}
	return groups
}

// redirect returns the route that sends plain HTTP to HTTPS, or nil.
func (b Binding) redirect(hosts, allHosts []string) *istioapi.HTTPRoute {
	route := &istioapi.HTTPRoute{
		Redirect: &istioapi.HTTPRedirect{Scheme: "https", RedirectCode: http.StatusMovedPermanently},
	}
	for _, group := range b.byRedirect(hosts) {
		for _, at := range placesOn(sets.List(group.redirecting), group.hosts, allHosts) {
			route.Match = append(route.Match, &istioapi.HTTPMatchRequest{Gateways: at.gateways, Authority: at.authority})
		}
	}
	if len(route.Match) == 0 {
		return nil // it would apply to every request
	}
	return route
}

// Redirects tells whether a VirtualService of VirtualService only redirects one of
// its hosts on an Istio Gateway.
func Redirects(vs *istiov1.VirtualService, host, istioGateway string) bool {
	for _, route := range vs.Spec.Http {
		name, _ := gateway.ParseRouteName(route.Name)
		if name.Kind == gateway.Redirecting && slices.ContainsFunc(route.Match, func(match *istioapi.HTTPMatchRequest) bool {
			return slices.Contains(match.Gateways, istioGateway) && meets(host, match.Authority)
		}) {
			return true
		}
	}
	return false
}

// meets tells whether a host meets a condition of authorityMatches.
func meets(host string, authority *istioapi.StringMatch) bool {
	return authority.GetExact() == host || (authority.GetPrefix() != "" && strings.HasPrefix(host, authority.GetPrefix()))
}

// ExternalHosts returns the hosts for callers outside the cluster, sorted, each
// once.
func ExternalHosts(ing *v1alpha1.Ingress) []string {
	hosts := sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		if rule.Visibility != v1alpha1.IngressVisibilityClusterLocal {
			hosts.Insert(rule.Hosts...)
		}
	}
	return sets.List(hosts)
}

// Labels are on every object that serves an Ingress of a tenant, or of none (""):
// nothing can own what is in the gateways' namespace, so they say whose it is.
func Labels(ing *v1alpha1.Ingress, tenant string) map[string]string {
	out := OwnerLabels(types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name})
	if model, ok := ing.Labels[sluice.ModelLabelKey]; ok {
		out[sluice.ModelLabelKey] = model
	}
	if tenant != "" {
		out[sluice.TenantLabelKey] = tenant
	}
	return out
}

// OwnerLabels are those of Labels that say which Ingress an object serves.
func OwnerLabels(ing types.NamespacedName) map[string]string {
	return map[string]string{
		sluice.ManagedByLabelKey:   sluice.ManagedBy,
		networking.IngressLabelKey: kmeta.ChildName(ing.Name, ""), // shortened to 63 where it is longer
		IngressNamespaceLabelKey:   ing.Namespace,
	}
}

func httpRoute(path v1alpha1.HTTPIngressPath, places []place) *istioapi.HTTPRoute {
	route := &istioapi.HTTPRoute{
		// A retry would hide the backend's first answer, which is the client's.
		Retries: &istioapi.HTTPRetry{Attempts: 0},
		// No timeout: Knative's own, in the activator and queue-proxy, are exact.
	}
	for _, at := range places {
		match := &istioapi.HTTPMatchRequest{Gateways: at.gateways, Authority: at.authority}
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

package limit

import (
	"cmp"
	"slices"
	"strings"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// chain is a server of an Istio Gateway on the HTTPS entry: a filter chain of
// Envoy with a connection manager, and so with token buckets, of its own.
type chain struct {
	istioGateway string
	server       int
}

// presence is what a virtual service does at a gateway.
type presence struct {
	// roles are in the order of gateway.Entries.
	roles []division.Role
	// chains by which it forwards on the HTTPS entry.
	chains []chain
}

// server is one server of an Istio Gateway.
type server struct {
	gateway string
	// entry is its place in gateway.Entries.
	entry int
	// hosts have lost their namespaces: all are of our own.
	hosts []string
}

// certificate is a host that a chain is for.
type certificate struct {
	host  string
	chain chain
}

// fits grows with how closely the host, which may be a wildcard, is told.
func (c certificate) fits() int { return len(strings.TrimPrefix(c.host, "*")) }

// routing is which gateways there are and what is served where.
type routing struct {
	gateways sets.Set[string]
	// present is by virtual service and by gateway, for those that it is attached to.
	present map[string]map[string]presence
	// hosts of each virtual service.
	hosts map[string][]string
	// certificates by gateway, sorted.
	certificates map[string][]certificate
}

// newRouting reads the Istio Gateways and the virtual services. A gateway is known
// by the Istio Gateway of its own name, which is there before its pods and goes
// before its slots; the shared one always is.
func newRouting(gateways []*istiov1.Gateway, services []*istiov1.VirtualService) *routing {
	r := &routing{
		gateways:     sets.New(gateway.Shared),
		present:      make(map[string]map[string]presence, len(services)),
		hosts:        make(map[string][]string, len(services)),
		certificates: map[string][]certificate{},
	}
	servers := make(map[string][]server, len(gateways))
	for _, g := range gateways {
		if g.Labels[gateway.LabelKey] == g.Name {
			r.gateways.Insert(g.Name)
		}
		servers[g.Name] = serversOf(g)
		r.addCertificates(g.Name, servers[g.Name])
	}
	for _, of := range r.certificates {
		slices.SortFunc(of, func(a, b certificate) int {
			return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.chain.istioGateway, b.chain.istioGateway),
				cmp.Compare(a.chain.server, b.chain.server))
		})
	}
	for _, v := range services {
		r.hosts[v.Name], r.present[v.Name] = v.Spec.Hosts, presences(v, servers)
	}
	return r
}

func serversOf(g *istiov1.Gateway) []server {
	out := make([]server, 0, len(g.Spec.Servers))
	for _, s := range g.Spec.Servers {
		of := server{gateway: g.Spec.Selector[gateway.LabelKey], entry: slices.IndexFunc(gateway.Entries(), func(e gateway.Entry) bool {
			return e.Port == s.GetPort().GetNumber()
		})}
		for _, host := range s.Hosts {
			if _, name, ok := strings.Cut(host, "/"); ok {
				host = name
			}
			of.hosts = append(of.hosts, host)
		}
		out = append(out, of)
	}
	return out
}

func (r *routing) addCertificates(istioGateway string, servers []server) {
	for i, s := range servers {
		if s.entry < 0 || gateway.Entries()[s.entry] != gateway.Secure {
			continue
		}
		for _, host := range s.hosts {
			r.certificates[s.gateway] = append(r.certificates[s.gateway],
				certificate{host: host, chain: chain{istioGateway: istioGateway, server: i}})
		}
	}
}

// presences returns what a virtual service does at each gateway that it names.
func presences(v *istiov1.VirtualService, servers map[string][]server) map[string]presence {
	out := map[string]presence{}
	for _, ref := range v.Spec.Gateways {
		name := istioGateway(ref)
		does := roleAt(v, name)
		for i, s := range servers[name] {
			if s.gateway == "" || s.entry < 0 || !slices.ContainsFunc(v.Spec.Hosts, s.covers) {
				continue
			}
			at, ok := out[s.gateway]
			if !ok {
				at.roles = make([]division.Role, len(gateway.Entries()))
			}
			at.roles[s.entry] = max(at.roles[s.entry], does)
			if does == division.Forwarding && gateway.Entries()[s.entry] == gateway.Secure {
				at.chains = append(at.chains, chain{istioGateway: name, server: i})
			}
			out[s.gateway] = at
		}
	}
	return out
}

// istioGateway is the name of the Istio Gateway of our namespace that is referred to.
func istioGateway(ref string) string { return strings.TrimPrefix(ref, gateway.Namespace+"/") }

// roleAt is what a virtual service does with the requests that an Istio Gateway
// gets. Routes for our own prober count for nothing.
func roleAt(v *istiov1.VirtualService, name string) division.Role {
	does := division.Absent
	for _, route := range v.Spec.Http {
		switch {
		case !matches(route, name) || forProber(route):
		case len(route.Route) > 0 || route.Delegate != nil:
			return division.Forwarding
		default:
			does = division.Answering
		}
	}
	return does
}

func matches(route *istioapi.HTTPRoute, name string) bool {
	return len(route.Match) == 0 || slices.ContainsFunc(route.Match, func(m *istioapi.HTTPMatchRequest) bool {
		return len(m.Gateways) == 0 || slices.ContainsFunc(m.Gateways, func(ref string) bool { return istioGateway(ref) == name })
	})
}

// forProber is true for a route that only paths with a probe token reach, whatever
// the token.
func forProber(route *istioapi.HTTPRoute) bool {
	return len(route.Match) > 0 && !slices.ContainsFunc(route.Match, func(m *istioapi.HTTPMatchRequest) bool {
		return !strings.HasPrefix(m.GetUri().GetPrefix()+m.GetUri().GetExact(), gateway.ProbePath(""))
	})
}

func (s server) covers(host string) bool {
	return slices.ContainsFunc(s.hosts, func(pattern string) bool { return covers(pattern, host) })
}

// covers is true if a host of a server, which may be a wildcard, stands for host.
func covers(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	return pattern == host || (wild && len(host) > len(suffix) && strings.HasSuffix(host, suffix))
}

// attached are the gateways that have routes of a virtual service.
func (r *routing) attached(virtualService string) sets.Set[string] {
	return sets.KeySet(r.present[virtualService]).Intersection(r.gateways)
}

// at is what a virtual service does at a gateway, be it attached there or not.
func (r *routing) at(virtualService, name string) presence {
	if p, ok := r.present[virtualService][name]; ok {
		return p
	}
	return presence{roles: make([]division.Role, len(gateway.Entries()))}
}

// hostOn returns a host of a virtual service at which Envoy serves a chain of a
// gateway: the one with the certificate that fits that host best. There is none
// where others fit all of its hosts better.
func (r *routing) hostOn(virtualService, name string, on chain) (string, bool) {
	for _, host := range r.hosts[virtualService] {
		best := certificate{}
		for _, c := range r.certificates[name] {
			if covers(c.host, host) && c.fits() > best.fits() {
				best = c
			}
		}
		if best.chain == on && !strings.HasPrefix(host, "*") {
			return host, true
		}
	}
	return "", false
}

package limit

import (
	"slices"
	"testing"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// istioGatewayOf is an Istio Gateway with a server for each host at an entry.
func istioGatewayOf(name, of string, entry gateway.Entry, hosts ...string) *istiov1.Gateway {
	g := &istiov1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: map[string]string{gateway.LabelKey: of}},
		Spec:       istioapi.Gateway{Selector: map[string]string{gateway.LabelKey: of}},
	}
	for _, host := range hosts {
		g.Spec.Servers = append(g.Spec.Servers, &istioapi.Server{
			Port: &istioapi.Port{Number: entry.Port, Name: entry.Name}, Hosts: []string{host},
		})
	}
	return g
}

// routeTo is a virtual service that forwards at each of the Istio Gateways, and has
// the routes for our own prober that reconciler/ingress makes.
func routeTo(name string, gateways []string, hosts ...string) *istiov1.VirtualService {
	if len(hosts) == 0 {
		hosts = []string{"m.team.example.com"}
	}
	to := []*istioapi.HTTPRouteDestination{{Destination: &istioapi.Destination{Host: "m-1.team.svc.cluster.local"}}}
	v := &istiov1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name},
		Spec: istioapi.VirtualService{Hosts: hosts, Http: []*istioapi.HTTPRoute{
			{
				Match: []*istioapi.HTTPMatchRequest{{Uri: &istioapi.StringMatch{
					MatchType: &istioapi.StringMatch_Exact{Exact: gateway.KeptPath(gateway.ProbePath("token"))},
				}}},
				Route: to,
			},
			{
				Match: []*istioapi.HTTPMatchRequest{{Uri: &istioapi.StringMatch{
					MatchType: &istioapi.StringMatch_Prefix{Prefix: gateway.ProbePrefix(gateway.ProbePath("token"))},
				}}},
				DirectResponse: &istioapi.HTTPDirectResponse{Status: 200},
			},
		}},
	}
	for _, g := range gateways {
		ref := gateway.Namespace + "/" + g
		v.Spec.Gateways = append(v.Spec.Gateways, ref)
		v.Spec.Http = append(v.Spec.Http, &istioapi.HTTPRoute{Match: []*istioapi.HTTPMatchRequest{{Gateways: []string{ref}}}, Route: to})
	}
	return v
}

// redirect has a virtual service redirect at an Istio Gateway.
func redirect(v *istiov1.VirtualService, name string) {
	for _, route := range v.Spec.Http {
		if len(route.Match[0].Gateways) > 0 && matches(route, name) {
			route.Route, route.Redirect = nil, &istioapi.HTTPRedirect{Scheme: "https"}
		}
	}
}

func TestRouting(t *testing.T) {
	wildcard, exact := gateway.SecureName("tenant-blue", "shared"), gateway.SecureName("team.m", "shared")
	gateways := []*istiov1.Gateway{
		istioGatewayOf("shared", "shared", gateway.External, "./*"),
		istioGatewayOf("shared-local", "shared", gateway.Local, "./*"),
		istioGatewayOf("tenant-blue", "tenant-blue", gateway.External, "./*"),
		istioGatewayOf(wildcard, "shared", gateway.Secure, "./*.blue.test", "./*.green.test"),
		istioGatewayOf(exact, "shared", gateway.Secure, "./m.blue.test"),
		istioGatewayOf("elsewhere", "shared", gateway.Entry{Name: "tcp", Port: 9000}, "./*"),
	}
	redirecting := routeTo("v", []string{"shared", wildcard}, "v.blue.test")
	redirect(redirecting, "shared")
	everywhere := routeTo("v", nil)
	everywhere.Spec.Gateways = []string{"shared", "tenant-blue"}
	everywhere.Spec.Http = append(everywhere.Spec.Http, &istioapi.HTTPRoute{Route: []*istioapi.HTTPRouteDestination{{}}})
	probed := routeTo("v", nil)
	probed.Spec.Gateways = []string{gateway.Namespace + "/shared"}

	tests := map[string]struct {
		service *istiov1.VirtualService
		at      string
		roles   []division.Role
		chains  []chain
		// askedAt is the host at which each chain is asked.
		askedAt []string
	}{
		"both plain entries": {
			service: routeTo("v", []string{"shared", "shared-local"}), at: "shared", roles: []division.Role{division.Forwarding, division.Absent, division.Forwarding},
		},
		"another gateway": {service: routeTo("v", []string{"shared"}), at: "tenant-blue", roles: []division.Role{division.Absent, division.Absent, division.Absent}},
		"routes for all of its gateways": {
			service: everywhere, at: "tenant-blue", roles: []division.Role{division.Forwarding, division.Absent, division.Absent},
		},
		"routes for our prober only": {service: probed, at: "shared", roles: []division.Role{division.Absent, division.Absent, division.Absent}},
		"redirects": {
			service: redirecting, at: "shared", roles: []division.Role{division.Answering, division.Forwarding, division.Absent},
			chains: []chain{{wildcard, 0}}, askedAt: []string{"v.blue.test"},
		},
		"no certificate for the host": {
			service: routeTo("v", []string{wildcard}, "v.red.test"), at: "shared", roles: []division.Role{division.Absent, division.Absent, division.Absent},
		},
		"a certificate each": {
			service: routeTo("v", []string{wildcard}, "v.blue.test", "v.green.test"), at: "shared", roles: []division.Role{division.Absent, division.Forwarding, division.Absent},
			chains: []chain{{wildcard, 0}, {wildcard, 1}}, askedAt: []string{"v.blue.test", "v.green.test"},
		},
		"a better certificate takes the host": {
			service: routeTo("v", []string{wildcard, exact}, "m.blue.test"), at: "shared", roles: []division.Role{division.Absent, division.Forwarding, division.Absent},
			chains: []chain{{wildcard, 0}, {exact, 0}}, askedAt: []string{"", "m.blue.test"},
		},
		"a port of nobody's": {service: routeTo("v", []string{"elsewhere"}), at: "shared", roles: []division.Role{division.Absent, division.Absent, division.Absent}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRouting(gateways, []*istiov1.VirtualService{tt.service})
			got := r.at("v", tt.at)
			if !slices.Equal(got.roles, tt.roles) || !slices.Equal(got.chains, tt.chains) {
				t.Errorf("at %s = %+v, want roles %v and chains %v", tt.at, got, tt.roles, tt.chains)
			}
			for i, c := range got.chains {
				if host, _ := r.hostOn("v", tt.at, c); host != tt.askedAt[i] {
					t.Errorf("%v is asked at %q, want %q", c, host, tt.askedAt[i])
				}
			}
		})
	}
}

// A gateway is known by the Istio Gateway of its own name; the shared one always.
func TestGatewaysKnown(t *testing.T) {
	r := newRouting([]*istiov1.Gateway{
		istioGatewayOf("tenant-blue", "tenant-blue", gateway.External, "./*"),
		istioGatewayOf("tenant-red-local", "tenant-red", gateway.Local, "./*"),
	}, nil)
	if !r.gateways.Equal(sets.New("shared", "tenant-blue")) {
		t.Errorf("known are %v", r.gateways.UnsortedList())
	}
}

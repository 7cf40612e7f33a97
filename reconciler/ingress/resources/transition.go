package resources

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/http/header"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const keptRoute = "sluice-backends"

// probeRoute is the name of the route that answers probes of a VirtualService; no
// other VirtualService has one of that name.
func probeRoute(virtualService string) string { return "sluice-probe." + virtualService }

// Step is where a VirtualService is on its way to what is desired.
//
// Envoy takes a new cluster into use only when it has its endpoints, and drops
// one that istiod no longer sends at once, whatever its routes say: istiod sends
// a gateway the clusters that its routes name, before the routes. So routes
// change in three steps, make before break: the new backends are named where no
// request goes, then the requests go there while the old ones are still named,
// then the old ones are forgotten. A cluster without endpoints is ready for use to
// Envoy, so requests are held back from Services whose endpoints are to come.
type Step struct {
	// VirtualService is what is to be written now.
	VirtualService *istiov1.VirtualService
	// Routed is true if it sends requests where they are to go.
	Routed bool
	// Standing is true if what was there before does so already.
	Standing bool
}

// Change is from what is written to what is desired.
type Change struct {
	// Existing is what is written; nil where there is nothing.
	Existing *istiov1.VirtualService
	// Desired is what VirtualService returned.
	Desired *istiov1.VirtualService
	// Proved tells that every gateway pod serves Existing, clusters included.
	Proved bool
	// Empty are the hosts of Services at which nothing answers yet. Requests come to
	// none of them that they did not go to before.
	Empty sets.Set[string]
	// ProbePath is that of the Binding.
	ProbePath string
}

// Next returns the next step of a change; one without a VirtualService where there
// is nothing to be written yet.
func (c Change) Next() (Step, error) {
	existing, desired := c.Existing, c.Desired
	final, want := Step{VirtualService: desired, Routed: true}, backends(routesOf(desired))
	if existing == nil && c.anyEmpty(want) {
		return Step{}, nil
	}
	if existing == nil || !intact(existing, c.ProbePath) {
		return final, nil
	}
	had, kept := backends(routesOf(existing)), backends(keptOf(existing))
	if sameRoutes(existing, desired) {
		if !c.Proved && kept.Len() > 0 {
			return Step{VirtualService: existing, Routed: true, Standing: true}, nil
		}
		final.Standing = true
		return final, nil
	}
	added, former := want.Difference(had), sets.New[backend]()
	if !c.Proved {
		former = kept // some pod may still send requests there
	}
	if added.Difference(kept).Len() > 0 {
		prepared, err := sealed(existing, added.Union(former), c.ProbePath)
		return Step{VirtualService: prepared}, err
	}
	if added.Len() > 0 && (!c.Proved || c.anyEmpty(added)) {
		return Step{VirtualService: existing}, nil
	}
	committed, err := sealed(desired, had.Union(former).Difference(want), c.ProbePath)
	return Step{VirtualService: committed, Routed: true}, err
}

func (c Change) anyEmpty(of sets.Set[backend]) bool {
	for b := range of {
		if c.Empty.Has(b.host) {
			return true
		}
	}
	return false
}

// Generation is a digest of all that a VirtualService of an Ingress says. Our own
// prober gets it as response header K-Network-Hash, on every host and entry.
func Generation(vs *istiov1.VirtualService) string {
	for _, route := range vs.Spec.Http {
		if route.Name == probeRoute(vs.Name) {
			return route.GetHeaders().GetResponse().GetSet()[header.HashKey]
		}
	}
	return ""
}

// sealed returns a copy of vs that names the kept backends beside its own, and
// answers probes with the generation of that.
func sealed(vs *istiov1.VirtualService, kept sets.Set[backend], probePath string) (*istiov1.VirtualService, error) {
	out := vs.DeepCopy()
	out.Spec.Http = routesOf(out)
	if kept.Len() > 0 {
		out.Spec.Http = append([]*istioapi.HTTPRoute{keep(kept, probePath)}, out.Spec.Http...)
	}
	generation, err := digest(&out.Spec)
	if err != nil {
		return nil, err
	}
	out.Spec.Http = append([]*istioapi.HTTPRoute{probe(vs.Name, probePath, generation)}, out.Spec.Http...)
	return out, nil
}

// intact tells whether vs is as sealed left it. One that was edited by hand is
// nothing to start a transition from.
func intact(vs *istiov1.VirtualService, probePath string) bool {
	again, err := sealed(vs, backends(keptOf(vs)), probePath)
	return err == nil && proto.Equal(&again.Spec, &vs.Spec)
}

// probe answers our own prober in the gateway itself: asking never reaches a
// backend, so it wakes none that is at zero.
func probe(virtualService, path, generation string) *istioapi.HTTPRoute {
	return &istioapi.HTTPRoute{
		Name:           probeRoute(virtualService),
		Match:          []*istioapi.HTTPMatchRequest{{Uri: prefix(gateway.ProbePrefix(path))}},
		DirectResponse: &istioapi.HTTPDirectResponse{Status: http.StatusOK},
		Headers: &istioapi.Headers{
			Response: &istioapi.Headers_HeaderOperations{Set: map[string]string{header.HashKey: generation}},
		},
	}
}

// keep names backends on a path that nobody asks for, and that no limit leaves out.
func keep(kept sets.Set[backend], probePath string) *istioapi.HTTPRoute {
	route := &istioapi.HTTPRoute{
		Name:    keptRoute,
		Match:   []*istioapi.HTTPMatchRequest{{Uri: exact(gateway.KeptPath(probePath))}},
		Retries: &istioapi.HTTPRetry{Attempts: 0},
	}
	for _, b := range sortedBackends(kept) {
		route.Route = append(route.Route, &istioapi.HTTPRouteDestination{
			Destination: &istioapi.Destination{Host: b.host, Port: &istioapi.PortSelector{Number: b.port}},
			Weight:      1,
		})
	}
	return route
}

// sameRoutes tells whether two VirtualServices send the same requests to the same
// places.
func sameRoutes(a, b *istiov1.VirtualService) bool {
	withoutKept := func(vs *istiov1.VirtualService) *istioapi.VirtualService {
		spec := vs.Spec.DeepCopy()
		spec.Http = routesOf(vs)
		return spec
	}
	return proto.Equal(withoutKept(a), withoutKept(b))
}

// routesOf returns the routes for clients' requests.
func routesOf(vs *istiov1.VirtualService) []*istioapi.HTTPRoute {
	var routes []*istioapi.HTTPRoute
	for _, route := range vs.Spec.Http {
		if route.Name != probeRoute(vs.Name) && route.Name != keptRoute {
			routes = append(routes, route)
		}
	}
	return routes
}

func keptOf(vs *istiov1.VirtualService) []*istioapi.HTTPRoute {
	var routes []*istioapi.HTTPRoute
	for _, route := range vs.Spec.Http {
		if route.Name == keptRoute {
			routes = append(routes, route)
		}
	}
	return routes
}

// backend is what istiod makes a cluster of.
type backend struct {
	host string
	port uint32
}

func backends(routes []*istioapi.HTTPRoute) sets.Set[backend] {
	out := sets.New[backend]()
	for _, route := range routes {
		for _, destination := range route.Route {
			out.Insert(backend{host: destination.GetDestination().GetHost(), port: destination.GetDestination().GetPort().GetNumber()})
		}
	}
	return out
}

func sortedBackends(set sets.Set[backend]) []backend {
	list := set.UnsortedList()
	slices.SortFunc(list, func(a, b backend) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port))
	})
	return list
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

package resources

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// routeAction adds the route's own metadata, which istiod sets to the virtual service
// that the route comes from.
func routeAction() *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Metadata{
		Metadata: &routev3.RateLimit_Action_MetaData{
			DescriptorKey: modelKey,
			Source:        routev3.RateLimit_Action_MetaData_ROUTE_ENTRY,
			MetadataKey: &metadatav3.MetadataKey{
				Key: istioKey,
				Path: []*metadatav3.MetadataKey_PathSegment{{
					Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: istioConfKey},
				}},
			},
		},
	}}
}

// modelActions make a descriptor of the route. Our prober's requests make none.
func (s Slot) modelActions() []*routev3.RateLimit_Action {
	actions := []*routev3.RateLimit_Action{routeAction()}
	if s.ProbeToken == "" {
		return actions
	}
	return append(actions, requestFrom(byClient, &routev3.RateLimit_Action_HeaderValueMatch{
		ExpectMatch: wrapperspb.Bool(false), Headers: probePath(s.ProbeToken),
	}))
}

// clusterAction adds the cluster that the request's route, a split one included, leads
// to. Where the gateway itself answers there is none, and no descriptor.
func clusterAction() *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_DestinationCluster_{
		DestinationCluster: &routev3.RateLimit_Action_DestinationCluster{},
	}}
}

// clusterActions make a descriptor of the cluster, beside the route.
func clusterActions() []*routev3.RateLimit_Action {
	return []*routev3.RateLimit_Action{routeAction(), clusterAction()}
}

// probeActions make a descriptor of our prober's requests, and of no others.
func (s Slot) probeActions() []*routev3.RateLimit_Action {
	return []*routev3.RateLimit_Action{
		requestFrom(byProber, &routev3.RateLimit_Action_HeaderValueMatch{Headers: probePath(s.ProbeToken)}),
		{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: gateway.SlotHeader, DescriptorKey: slotKey},
		}},
	}
}

// requestFrom makes a descriptor entry for the requests that match, and with it no
// descriptor at all for others.
func requestFrom(whom string, match *routev3.RateLimit_Action_HeaderValueMatch) *routev3.RateLimit_Action {
	match.DescriptorKey, match.DescriptorValue = requestKey, whom
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{HeaderValueMatch: match}}
}

func probePath(token string) []*routev3.HeaderMatcher {
	return []*routev3.HeaderMatcher{{
		Name: ":path",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: gateway.ProbePrefix(gateway.ProbePath(token))},
		}},
	}}
}

package resources

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	istiov1api "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	connectionManager = "envoy.filters.network.http_connection_manager"
	router            = "envoy.filters.http.router"
)

// HTTPFilters returns the EnvoyFilter that inserts, at every entry, before the
// router, its slots in order, and at the local one, behind its slots, the answer to
// the pod's startup probe.
//
// It is a change of the listener, which drains its connections, so it never changes in
// a pod's life: what a slot enforces comes over ECDS, and another number of slots with
// other pods, which have an object of their own. A listener whose slots are missing
// does not listen.
func HTTPFilters(gw Gateway) (*istiov1alpha3.EnvoyFilter, error) {
	out := &istiov1alpha3.EnvoyFilter{
		ObjectMeta: objectMeta(gw, FiltersName(gw.Name, gw.Slots)),
		Spec:       istiov1api.EnvoyFilter{WorkloadSelector: &istiov1api.WorkloadSelector{Labels: gateway.PodSelector(gw.Name, gw.Slots)}},
	}
	out.Labels = labelsWithSlots(gw)
	for _, entry := range gateway.Entries() {
		patches, err := httpFilterPatches(gw, entry)
		if err != nil {
			return nil, fmt.Errorf("building the HTTP filters of entry %s: %w", entry.Name, err)
		}
		out.Spec.ConfigPatches = append(out.Spec.ConfigPatches, patches...)
	}
	return out, nil
}

func httpFilterPatches(gw Gateway, entry gateway.Entry) ([]*istiov1api.EnvoyFilter_EnvoyConfigObjectPatch, error) {
	filters, err := httpFilters(gw, entry)
	if err != nil {
		return nil, err
	}
	patches := make([]*istiov1api.EnvoyFilter_EnvoyConfigObjectPatch, 0, len(filters))
	for _, filter := range filters {
		patches = append(patches, &istiov1api.EnvoyFilter_EnvoyConfigObjectPatch{
			ApplyTo: istiov1api.EnvoyFilter_HTTP_FILTER,
			Match:   entryMatch(entry, &istiov1api.EnvoyFilter_ListenerMatch_SubFilterMatch{Name: router}),
			Patch:   &istiov1api.EnvoyFilter_Patch{Operation: istiov1api.EnvoyFilter_Patch_INSERT_BEFORE, Value: filter},
		})
	}
	return patches, nil
}

func httpFilters(gw Gateway, entry gateway.Entry) ([]*structpb.Struct, error) {
	filters := make([]*structpb.Struct, 0, gw.Slots+1)
	for slot := range gw.Slots {
		filter, err := validated(slotFilter(gateway.ExtensionName(entry, slot)))
		if err != nil {
			return nil, fmt.Errorf("building slot %d: %w", slot, err)
		}
		filters = append(filters, filter)
	}
	if entry == gateway.Local {
		filter, err := startupFilter(gw)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func slotFilter(name string) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: name,
		ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
				// Without end: a pod without its limits must not serve.
				InitialFetchTimeout: durationpb.New(0),
				ResourceApiVersion:  corev3.ApiVersion_V3,
			},
			TypeUrls: []string{typeURL(&ratelimitv3.LocalRateLimit{})},
		}},
	}
}

// startupHost is whom a pod's startup probe asks. No route serves it.
func startupHost(gw Gateway) string { return "startup." + gateway.ProbeHost(gw.Name) }

// startupFilter answers a pod's startup probe, from behind the slots. Routes could
// not: istiod may know a Gateway for a moment before it knows the EnvoyFilter that
// limits it, and a route would be served without limits then. Where this filter
// answers, the slots before it are there too; and as Envoy opens its listeners
// together, each once its slots and routes have come, so is all the rest.
func startupFilter(gw Gateway) (*structpb.Struct, error) {
	return typedFilter("sluice.startup", &healthcheckv3.HealthCheck{
		PassThroughMode: wrapperspb.Bool(false),
		Headers: []*routev3.HeaderMatcher{{
			Name: ":authority",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: startupHost(gw)},
			}},
		}},
	})
}

// typedFilter is an HTTP filter with its configuration, both as Envoy wants them.
func typedFilter(name string, config validatable) (*structpb.Struct, error) {
	packed, err := pack(name, config)
	if err != nil {
		return nil, err
	}
	return validated(&hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed}})
}

// ConnectionFilters returns the EnvoyFilter that tunes a gateway's connection
// managers: connections end gracefully at a certain age, and when they have been
// idle for as long, so that pooled ones find new pods; each entry counts by VirtualService
// what is offered and refused, and how the rest ends, logs it, and tells whom it refuses how to go on;
// and those for callers outside remove headers that are not for them to send.
func ConnectionFilters(gw Gateway) (*istiov1alpha3.EnvoyFilter, error) {
	filter := &istiov1alpha3.EnvoyFilter{
		ObjectMeta: objectMeta(gw, ConnectionsName(gw.Name)),
		Spec:       istiov1api.EnvoyFilter{WorkloadSelector: &istiov1api.WorkloadSelector{Labels: selector(gw.Name)}},
	}
	for _, entry := range gateway.Entries() {
		value, err := connectionPatch(gw, entry)
		if err != nil {
			return nil, fmt.Errorf("building the connection manager of entry %s: %w", entry.Name, err)
		}
		filter.Spec.ConfigPatches = append(filter.Spec.ConfigPatches, &istiov1api.EnvoyFilter_EnvoyConfigObjectPatch{
			ApplyTo: istiov1api.EnvoyFilter_NETWORK_FILTER,
			Match:   entryMatch(entry, nil),
			Patch:   &istiov1api.EnvoyFilter_Patch{Operation: istiov1api.EnvoyFilter_Patch_MERGE, Value: value},
		})
	}
	cluster, err := traceCluster(gw)
	if err != nil {
		return nil, err
	}
	filter.Spec.ConfigPatches = append(filter.Spec.ConfigPatches, cluster...)
	return filter, nil
}

func connectionPatch(gw Gateway, entry gateway.Entry) (*structpb.Struct, error) {
	demand, err := demandLoggers(gw, entry)
	if err != nil {
		return nil, err
	}
	outcomes, err := outcomeLoggers(gw, entry)
	if err != nil {
		return nil, err
	}
	ended, err := endLoggers(gw, entry)
	if err != nil {
		return nil, err
	}
	log, err := accessLoggers(gw, entry)
	if err != nil {
		return nil, err
	}
	refused, err := refusals()
	if err != nil {
		return nil, err
	}
	tracing, err := tracingOf(gw, entry)
	if err != nil {
		return nil, err
	}
	patch := &hcmv3.HttpConnectionManager{
		Tracing: tracing,
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			MaxConnectionDuration: durationpb.New(gw.MaxConnectionDuration),
			// One that only idles would not notice its age: see below. So none
			// lasts longer than twice the duration and its last request.
			IdleTimeout: durationpb.New(gw.MaxConnectionDuration),
		},
		// An HTTP/1.1 connection that is closed by age can lose the request that is
		// on its way; told with the next answer, it can't.
		Http1SafeMaxConnectionDuration: true,
		AccessLog:                      slices.Concat(demand, outcomes, ended, log),
		AccessLogOptions: &hcmv3.HttpConnectionManager_HcmAccessLogOptions{
			// Counts long streams when they arrive, not when they end.
			FlushAccessLogOnNewRequest: true,
		},
		LocalReplyConfig: refused,
		// model.example.com. is the same host as model.example.com.
		StripTrailingHostDot: true,
		HttpProtocolOptions:  http1Options(),
	}
	if entry == gateway.Local {
		// A DomainMapping's requests come back in here, over HTTP/2; by RFC 8441 a
		// WebSocket is an extended CONNECT then.
		patch.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{AllowConnect: true}
	} else {
		removal, err := headerRemoval()
		if err != nil {
			return nil, err
		}
		patch.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{removal}
	}
	if err := validateMerged(patch); err != nil {
		return nil, err
	}
	config, err := anypb.New(patch)
	if err != nil {
		return nil, fmt.Errorf("packing the connection manager: %w", err)
	}
	return toStruct(map[string]proto.Message{"typed_config": config}, connectionManager)
}

// http1Options serve older clients, and those that offer to go on in another protocol and
// are content not to: without, they would be answered 426 and 403. Of h2c Envoy takes no
// notice by itself; a WebSocket is asked for, not offered.
func http1Options() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{
		AcceptHttp_10: true,
		IgnoreHttp_11Upgrade: []*matcherv3.StringMatcher{
			{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "h2"}, IgnoreCase: true},
			{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "TLS/"}, IgnoreCase: true},
		},
	}
}

// validateMerged checks a patch as Envoy will see it: with the two fields that
// istiod has filled in before the merge.
func validateMerged(patch *hcmv3.HttpConnectionManager) error {
	merged := proto.Clone(patch).(*hcmv3.HttpConnectionManager)
	merged.StatPrefix = "any"
	merged.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
		RouteConfigName: "any",
		ConfigSource:    &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
	}}
	return merged.ValidateAll()
}

func entryMatch(
	entry gateway.Entry, sub *istiov1api.EnvoyFilter_ListenerMatch_SubFilterMatch,
) *istiov1api.EnvoyFilter_EnvoyConfigObjectMatch {
	return &istiov1api.EnvoyFilter_EnvoyConfigObjectMatch{
		Context: istiov1api.EnvoyFilter_GATEWAY,
		ObjectTypes: &istiov1api.EnvoyFilter_EnvoyConfigObjectMatch_Listener{
			Listener: &istiov1api.EnvoyFilter_ListenerMatch{
				PortNumber: entry.Port,
				FilterChain: &istiov1api.EnvoyFilter_ListenerMatch_FilterChainMatch{
					Filter: &istiov1api.EnvoyFilter_ListenerMatch_FilterMatch{Name: connectionManager, SubFilter: sub},
				},
			},
		},
	}
}

// validatable is an Envoy message with Envoy's own rules.
type validatable interface {
	proto.Message
	ValidateAll() error
}

// extension is a part of a connection manager, as Envoy wants it.
func extension(name string, config validatable) (*corev3.TypedExtensionConfig, error) {
	packed, err := pack(name, config)
	if err != nil {
		return nil, err
	}
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: packed}, nil
}

// pack packs what is to be of a name into a message that holds it, and refuses what Envoy would refuse.
func pack(name string, config validatable) (*anypb.Any, error) {
	if err := config.ValidateAll(); err != nil {
		return nil, fmt.Errorf("building %s: %w", name, err)
	}
	packed, err := anypb.New(config)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", name, err)
	}
	return packed, nil
}

// validated turns a complete Envoy message into a patch's value, refusing what
// Envoy would refuse: one bad resource would freeze the whole gateway.
func validated(message validatable) (*structpb.Struct, error) {
	if err := message.ValidateAll(); err != nil {
		return nil, err
	}
	return structOf(message)
}

func toStruct(fields map[string]proto.Message, name string) (*structpb.Struct, error) {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue(name)}}
	for key, message := range fields {
		value, err := structOf(message)
		if err != nil {
			return nil, err
		}
		out.Fields[key] = structpb.NewStructValue(value)
	}
	return out, nil
}

func structOf(message proto.Message) (*structpb.Struct, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", message.ProtoReflect().Descriptor().FullName(), err)
	}
	out := &structpb.Struct{}
	if err := protojson.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("reading %s as a struct: %w", message.ProtoReflect().Descriptor().FullName(), err)
	}
	return out, nil
}

func typeURL(message proto.Message) string {
	return "type.googleapis.com/" + string(message.ProtoReflect().Descriptor().FullName())
}

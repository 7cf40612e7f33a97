package resources

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	detectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	tagsv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	istiov1api "istio.io/api/networking/v1alpha3"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Traces is where a gateway sends its spans, and which.
type Traces struct {
	// Host and Port are those of a receiver of OTLP over gRPC. No host is nowhere.
	Host string
	Port uint32
	// Sample is how many of a million requests are traced.
	Sample uint32
}

const (
	// traceClusterName is the receiver's in Envoy, and none that Istio makes.
	traceClusterName = "sluice-traces"
	// traceService is who gateways are in traces: all of them one service.
	traceService = "sluice-gateway"
	// sendWithin bounds a delivery, connectWithin a connection: Envoy keeps few spans meanwhile, and drops the rest.
	sendWithin, connectWithin = 5 * time.Second, 2 * time.Second
)

// tracingOf returns how an entry traces, nil where it doesn't.
func tracingOf(gw Gateway, entry gateway.Entry) (*hcmv3.HttpConnectionManager_Tracing, error) {
	if gw.Traces.Host == "" {
		return nil, nil //nolint:nilnil // no tracing is what Envoy is told by nothing
	}
	sampler, err := sampler(gw.Traces, entry)
	if err != nil {
		return nil, err
	}
	by, err := extension("envoy.tracers.opentelemetry.resource_detectors.static_config",
		&detectorsv3.StaticConfigResourceDetectorConfig{Attributes: map[string]string{"sluice.gateway": gw.Name}})
	if err != nil {
		return nil, err
	}
	tracer, err := extension("envoy.tracers.opentelemetry", &tracev3.OpenTelemetryConfig{
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: traceClusterName}},
			Timeout:         durationpb.New(sendWithin),
		},
		ServiceName:       traceService,
		ResourceDetectors: []*corev3.TypedExtensionConfig{by},
		Sampler:           sampler,
	})
	if err != nil {
		return nil, err
	}
	return &hcmv3.HttpConnectionManager_Tracing{
		Operation:  "gateway %ROUTE_NAME%",
		CustomTags: traceTags(entry),
		Provider: &tracev3.Tracing_Http{
			Name: tracer.Name, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: tracer.TypedConfig},
		},
	}, nil
}

// sampler chooses what is traced. Whatever a caller outside says, his traces go on but are
// sampled by our share: the flag is set by default in many a client, for all that it sends. Who
// calls from inside the cluster could as well send spans himself, so what he traces is
// traced, and what he doesn't isn't; what has no parent is, by the share.
func sampler(traces Traces, entry gateway.Entry) (*corev3.TypedExtensionConfig, error) {
	share, err := extension("envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", &samplersv3.TraceIdRatioBasedSamplerConfig{
		SamplingPercentage: &typev3.FractionalPercent{Numerator: traces.Sample, Denominator: typev3.FractionalPercent_MILLION},
	})
	if err != nil || entry != gateway.Local {
		return share, err
	}
	return extension("envoy.tracers.opentelemetry.samplers.parent_based", &samplersv3.ParentBasedSamplerConfig{WrappedSampler: share})
}

// traceTags are attributes of spans. Those of Envoy's own names take the place of what Envoy
// would tell: nothing of a path or a query, which may hold what is secret, as our prober's does, and of what callers
// choose no more than a bounded part.
func traceTags(entry gateway.Entry) []*tagsv3.CustomTag {
	return []*tagsv3.CustomTag{
		formatted("sluice.route", "%ROUTE_NAME%"),
		literal("sluice.entry", entry.Name),
		formatted("http.url", "%REQ(:SCHEME):8%://%REQ(:AUTHORITY):128%"),
		formatted("user_agent", "%REQ(USER-AGENT):128%"),
		formatted("guid:x-request-id", "%REQ(X-REQUEST-ID):64%"),
		literal("guid:x-client-trace-id", "-"),
		literal("downstream_cluster", "-"),
		literal("grpc.path", "-"),
	}
}

func formatted(tag, value string) *tagsv3.CustomTag {
	return &tagsv3.CustomTag{Tag: tag, Type: &tagsv3.CustomTag_Value{Value: value}}
}

func literal(tag, value string) *tagsv3.CustomTag {
	return &tagsv3.CustomTag{Tag: tag, Type: &tagsv3.CustomTag_Literal_{Literal: &tagsv3.CustomTag_Literal{Value: value}}}
}

// traceCluster returns the patch by which Envoy knows the receiver; none where it sends no
// traces. Its address is looked up by Envoy itself: one that nobody knows costs the traces,
// and nothing else.
func traceCluster(gw Gateway) ([]*istiov1api.EnvoyFilter_EnvoyConfigObjectPatch, error) {
	if gw.Traces.Host == "" {
		return nil, nil
	}
	http2, err := anypb.New(&upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("packing the protocol of traces: %w", err)
	}
	cluster, err := validated(&clusterv3.Cluster{
		Name:                 traceClusterName,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
		ConnectTimeout:       durationpb.New(connectWithin),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: traceClusterName,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{endpoint(gw.Traces)}}},
		},
		// Few requests of many spans: what waits for a receiver that is slow is bounded so.
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxRequests: wrapperspb.UInt32(64), MaxPendingRequests: wrapperspb.UInt32(64),
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
	})
	if err != nil {
		return nil, fmt.Errorf("building the cluster of traces: %w", err)
	}
	return []*istiov1api.EnvoyFilter_EnvoyConfigObjectPatch{{
		ApplyTo: istiov1api.EnvoyFilter_CLUSTER,
		Match:   &istiov1api.EnvoyFilter_EnvoyConfigObjectMatch{Context: istiov1api.EnvoyFilter_GATEWAY},
		Patch:   &istiov1api.EnvoyFilter_Patch{Operation: istiov1api.EnvoyFilter_Patch_ADD, Value: cluster},
	}}, nil
}

func endpoint(traces Traces) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: traces.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: traces.Port},
		}}},
	}}}
}

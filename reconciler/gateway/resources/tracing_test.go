package resources

import (
	"encoding/json"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func traced() Gateway {
	gw := shared()
	gw.Traces = Traces{Host: "collector-gateway.sluice-system.svc", Port: 4317, Sample: 10_000}
	return gw
}

// Without a receiver Envoy is told nothing of traces.
func TestNoTracesWithoutReceiver(t *testing.T) {
	connections := must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(shared()))
	if text := string(must[[]byte](t)(json.Marshal(connections))); strings.Contains(text, "tracing") || strings.Contains(text, traceClusterName) {
		t.Errorf("traces without a receiver: %s", text)
	}
}

// The receiver that tracers send to is the one that is added, as Envoy's own validators
// accept it.
func TestTraceCluster(t *testing.T) {
	var added []*clusterv3.Cluster
	for _, patch := range must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(traced())).Spec.ConfigPatches {
		if patch.ApplyTo != istioapi.EnvoyFilter_CLUSTER {
			continue
		}
		cluster := &clusterv3.Cluster{}
		if err := protojson.Unmarshal(must[[]byte](t)(protojson.Marshal(patch.Patch.Value)), cluster); err != nil {
			t.Fatal(err)
		}
		if err := cluster.ValidateAll(); err != nil {
			t.Error(err)
		}
		added = append(added, cluster)
	}
	if len(added) != 1 {
		t.Fatalf("%d clusters, want one", len(added))
	}
	for _, entry := range gateway.Entries() {
		if to := tracerOf(t, entry).GrpcService.GetEnvoyGrpc().ClusterName; to != added[0].Name {
			t.Errorf("entry %s sends traces to %s, known is %s", entry.Name, to, added[0].Name)
		}
	}
}

// What a caller outside says of sampling has no say, what one inside does.
func TestWhoDecidesWhatIsTraced(t *testing.T) {
	for _, entry := range gateway.Entries() {
		sampler := tracerOf(t, entry).Sampler.TypedConfig
		if entry == gateway.Local {
			parent := &samplersv3.ParentBasedSamplerConfig{}
			unpack(t, sampler, parent)
			sampler = parent.WrappedSampler.TypedConfig
		}
		share := &samplersv3.TraceIdRatioBasedSamplerConfig{}
		unpack(t, sampler, share)
		if got := share.SamplingPercentage.Numerator; got != traced().Traces.Sample {
			t.Errorf("entry %s traces %d in a million requests, want %d", entry.Name, got, traced().Traces.Sample)
		}
	}
}

// No attribute shows a path, and each that shows what a caller chooses shows a bounded part.
func TestTraceTagsAreBounded(t *testing.T) {
	for _, tag := range traceTags(gateway.External) {
		value := tag.GetValue()
		if strings.Contains(value, "PATH") {
			t.Errorf("%s shows a path: %s", tag.Tag, value)
		}
		for _, field := range strings.SplitAfter(value, "%REQ(")[1:] {
			if _, bound, _ := strings.Cut(field, ")"); !strings.HasPrefix(bound, ":") {
				t.Errorf("%s shows all of a header: %s", tag.Tag, value)
			}
		}
		if err := tag.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
}

func tracerOf(t *testing.T, entry gateway.Entry) *tracev3.OpenTelemetryConfig {
	t.Helper()
	tracing := must[*hcmv3.HttpConnectionManager_Tracing](t)(tracingOf(traced(), entry))
	tracer := &tracev3.OpenTelemetryConfig{}
	unpack(t, tracing.Provider.GetTypedConfig(), tracer)
	return tracer
}

func unpack(t *testing.T, packed *anypb.Any, into validatable) {
	t.Helper()
	if err := packed.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	if err := into.ValidateAll(); err != nil {
		t.Error(err)
	}
}

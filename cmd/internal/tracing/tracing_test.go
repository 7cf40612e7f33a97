package tracing

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"knative.dev/pkg/system"

	"sluice.dev/sluice/test/otlp"
)

// What is said is where spans go, over the real protocol.
func TestSpansAreSent(t *testing.T) {
	t.Setenv(system.NamespaceEnvKey, "sluice-system")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	receiver := otlp.Start(t, listener)
	end, err := Start(t.Context(), "limiter", Settings{Protocol: "grpc", Endpoint: "http://" + receiver.Address(), SamplingRate: "1"})
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "work")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := end(ctx); err != nil {
		t.Fatal(err)
	}
	spans := receiver.Spans()
	if len(spans) != 1 || spans[0].Name != "work" || spans[0].Service() != "limiter" {
		t.Errorf("received were %+v", spans)
	}
}

// Without a protocol nothing is recorded, and what can't be is said with its key.
func TestSettings(t *testing.T) {
	t.Setenv(system.NamespaceEnvKey, "sluice-system")
	end, err := Start(t.Context(), "limiter", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if _, span := otel.Tracer("test").Start(t.Context(), "work"); span.IsRecording() {
		t.Error("spans are recorded that go nowhere")
	}
	if err := end(t.Context()); err != nil {
		t.Error(err)
	}
	for name, s := range map[string]Settings{
		"a protocol that isn't": {Protocol: "udp", Endpoint: "http://collector:4317"},
		"no endpoint":           {Protocol: "grpc"},
		"no share":              {Protocol: "grpc", Endpoint: "http://collector:4317", SamplingRate: "some"},
		"percent":               {Protocol: "grpc", Endpoint: "http://collector:4317", SamplingRate: "5"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Start(t.Context(), "limiter", s); err == nil || !strings.Contains(err.Error(), "config-observability") {
				t.Errorf("got %v, want where to mend it", err)
			}
		})
	}
}

// Package tracing has commands trace that don't have Knative's main, as those do that have it.
package tracing

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"knative.dev/pkg/observability/resource"
	"knative.dev/pkg/observability/tracing"
)

// Settings are what config-observability says of traces, in Knative's words; a manifest hands
// them on.
type Settings struct {
	Protocol     string `envconfig:"TRACING_PROTOCOL"`
	Endpoint     string `envconfig:"TRACING_ENDPOINT"`
	SamplingRate string `envconfig:"TRACING_SAMPLING_RATE"`
}

// Start has the process send its spans, as a service of that name, until it is told to end. Without a protocol nothing is sent,
// and spans cost next to nothing.
func Start(ctx context.Context, service string, s Settings) (end func(context.Context) error, err error) {
	said := map[string]string{}
	for key, value := range map[string]string{
		"tracing-protocol": s.Protocol, "tracing-endpoint": s.Endpoint, "tracing-sampling-rate": s.SamplingRate,
	} {
		if value != "" {
			said[key] = value
		}
	}
	config, err := tracing.NewFromMap(said)
	if err != nil {
		return nil, fmt.Errorf("reading tracing-protocol, tracing-endpoint and tracing-sampling-rate of ConfigMap config-observability, of which grpc, "+
			"http://host:4317 and a share from 0 to 1 are good: %w", err)
	}
	provider, err := tracing.NewTracerProvider(ctx, config, sdktrace.WithResource(resource.Default(service)))
	if err != nil {
		return nil, fmt.Errorf("setting up traces to %s: %w", s.Endpoint, err)
	}
	otel.SetTextMapPropagator(tracing.DefaultTextMapPropagator())
	otel.SetTracerProvider(provider)
	return provider.Shutdown, nil
}

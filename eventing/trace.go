package eventing

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceContext is W3C's, of which the CloudEvents extension for distributed tracing takes
// names and values.
var traceContext propagation.TraceContext

// WithTrace returns the event with the context's trace in the extension traceparent, so that
// whoever takes the event goes on with it; unchanged where the context has none.
func WithTrace(ctx context.Context, event cloudevents.Event) cloudevents.Event {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return event
	}
	traced := event.Clone()
	traceContext.Inject(ctx, carrier{&traced})
	return traced
}

// TraceOf returns a context that goes on with the trace of an event. Where there is none, or what
// is there can't be read, it is the context that was given. Nothing else goes by what it
// says: whoever sends can make it up.
func TraceOf(ctx context.Context, event cloudevents.Event) context.Context {
	return traceContext.Extract(ctx, carrier{&event})
}

// carrier has an event's extensions hold a trace.
type carrier struct{ *cloudevents.Event }

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	value, _ := c.Extensions()[key].(string)
	return value
}

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { c.SetExtension(key, value) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string { return traceContext.Fields() }

// Package otlp is where the tests have traces sent: a receiver of OTLP over gRPC, as a collector
// or a store of traces is one, which keeps the spans for the test to look at.
package otlp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // exporters may compress
)

// Span is one that came, with ids in lower-case hex, as traceparent has them.
type Span struct {
	Trace, ID, Parent string
	Name              string
	Failed            bool
	Start, End        time.Time
	// Resource says who made it, Attributes what it tells; all values as text.
	Resource, Attributes map[string]string
}

// Service is who made the span.
func (s Span) Service() string { return s.Resource["service.name"] }

// Receiver keeps what comes, in the order in which it comes.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	listener net.Listener
	server   *grpc.Server

	mu     sync.Mutex
	spans  []Span
	change chan struct{}
}

// On returns a Receiver that is to serve on a listener.
func On(listener net.Listener) *Receiver {
	r := &Receiver{listener: listener, server: grpc.NewServer(), change: make(chan struct{})}
	collector.RegisterTraceServiceServer(r.server, r)
	return r
}

// Start has a Receiver serve on a listener for as long as the test runs.
func Start(t *testing.T, listener net.Listener) *Receiver {
	t.Helper()
	r := On(listener)
	served := make(chan error, 1)
	go func() { served <- r.Serve() }()
	t.Cleanup(func() {
		r.server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return r
}

// Serve takes spans in until the server is stopped.
func (r *Receiver) Serve() error {
	if err := r.server.Serve(r.listener); err != nil {
		return fmt.Errorf("receiving traces: %w", err)
	}
	return nil
}

// Address is where it listens, as host:port.
func (r *Receiver) Address() string { return r.listener.Addr().String() }

// Export implements OTLP.
func (r *Receiver) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range in.ResourceSpans {
		resource := texts(of.GetResource().GetAttributes())
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans = append(r.spans, read(span, resource))
			}
		}
	}
	close(r.change)
	r.change = make(chan struct{})
	return &collector.ExportTraceServiceResponse{}, nil
}

func read(s *trace.Span, resource map[string]string) Span {
	return Span{
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Name: s.Name, Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR,
		Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
		Resource: resource, Attributes: texts(s.Attributes),
	}
}

func texts(attributes []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(attributes))
	for _, a := range attributes {
		switch value := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.Key] = value.StringValue
		case *common.AnyValue_IntValue:
			out[a.Key] = strconv.FormatInt(value.IntValue, 10)
		case *common.AnyValue_DoubleValue:
			out[a.Key] = fmt.Sprint(value.DoubleValue)
		case *common.AnyValue_BoolValue:
			out[a.Key] = strconv.FormatBool(value.BoolValue)
		default:
			out[a.Key] = a.GetValue().String()
		}
	}
	return out
}

// Spans are those that have come.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Await returns what enough is found in, of the spans that have come until then, or of all of them
// where the context ends first.
func (r *Receiver) Await(ctx context.Context, enough func([]Span) bool) ([]Span, error) {
	for {
		r.mu.Lock()
		spans, change := slices.Clone(r.spans), r.change
		r.mu.Unlock()
		if enough(spans) {
			return spans, nil
		}
		select {
		case <-ctx.Done():
			return spans, fmt.Errorf("waiting for spans, of which %d came: %w", len(spans), ctx.Err())
		case <-change:
		}
	}
}

package eventing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// A span that is begun where an event arrives is the child of the one in which it was sent.
func TestTracesGoOnBehindTheBroker(t *testing.T) {
	received := make(chan cloudevents.Event, 1)
	broker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		received <- *event
	}))
	defer broker.Close()
	sender, err := newSender(func() (string, error) { return broker.URL, nil }, "")
	if err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	ctx, sending := tracer.Start(t.Context(), "sending")
	event := build(t, NewRevisionScaled, scaled(nil))
	if err := sender.Send(ctx, event); err != nil {
		t.Fatal(err)
	}
	sending.End()
	if _, traced := event.Extensions()["traceparent"]; traced {
		t.Error("sending changed the event, which may be sent again in another trace")
	}
	arrived := <-received
	if _, err := ParseRevisionScaled(arrived); err != nil {
		t.Errorf("with its trace the event isn't taken: %v", err)
	}
	_, taking := tracer.Start(TraceOf(t.Context(), arrived), "taking")
	taking.End()
	ended := spans.Ended()
	if got, want := ended[1].Parent().SpanID(), ended[0].SpanContext().SpanID(); got != want || ended[1].SpanContext().TraceID() != ended[0].SpanContext().TraceID() {
		t.Errorf("the parent is %s, want %s", got, want)
	}
}

// An event without a trace, or with what is none, is as good as any other.
func TestEventsWithoutTrace(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tt := range map[string]struct {
		value any
		want  bool
	}{
		"none": {nil, false}, "one": {good, true}, "text": {"garbage", false}, "a number": {7, false},
		"cut": {good[:40], false}, "zeroes": {"00-00000000000000000000000000000000-0000000000000000-01", false},
		"capitals": {strings.ToUpper(good), false}, "much": {strings.Repeat("0", 32<<10), false},
		"a version that isn't": {"ff" + good[2:], false},
	} {
		t.Run(name, func(t *testing.T) {
			event := build(t, NewRevisionScaled, scaled(nil))
			if tt.value != nil {
				event.SetExtension("traceparent", tt.value)
			}
			if d, err := ParseRevisionScaled(event); err != nil || d.Revision != "ranker-00001" {
				t.Errorf("read as %+v, %v", d, err)
			}
			if got := trace.SpanContextFromContext(TraceOf(t.Context(), event)).IsValid(); got != tt.want {
				t.Errorf("goes on with a trace: %t, want %t", got, tt.want)
			}
		})
	}
	event := build(t, NewRevisionScaled, scaled(nil))
	if traced := WithTrace(context.Background(), event); len(traced.Extensions()) != len(event.Extensions()) {
		t.Errorf("without a trace there are extensions %v", traced.Extensions())
	}
}

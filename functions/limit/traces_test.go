package limit

import (
	"slices"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"sluice.dev/sluice/eventing"
)

func recorder() (*tracetest.SpanRecorder, trace.Tracer) {
	spans := tracetest.NewSpanRecorder()
	return spans, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
}

// names are those of the spans of a trace that have ended, each after its parent's.
func names(spans *tracetest.SpanRecorder, of trace.TraceID) []string {
	ended, byID := spans.Ended(), map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, s := range ended {
		byID[s.SpanContext().SpanID()] = s
	}
	var out []string
	for _, s := range ended {
		if s.SpanContext().TraceID() != of {
			continue
		}
		name := s.Name()
		for parent, ok := byID[s.Parent().SpanID()]; ok; parent, ok = byID[parent.Parent().SpanID()] {
			name = parent.Name() + "/" + name
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// A scale event, the pass that acts on it, and the proof of its limit are one trace, whether
// the event comes before the caches tell of the change or after it is proved.
func TestScaleEventToProofIsOneTrace(t *testing.T) {
	spans, tracer := recorder() // beside no other test: some count the events of all
	b := newBench(t, 1, rateLimit("m"))
	b.end()
	b.build()
	b.traces.tracer = tracer
	b.run()
	b.until("the first limit", b.applied(10))
	send := func(at time.Time) trace.TraceID {
		ctx, root := tracer.Start(t.Context(), "scale event")
		event := eventing.WithTrace(ctx, scaled(t))
		event.SetTime(at)
		root.End()
		if err := b.Door(nil).Receive(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		return root.SpanContext().TraceID()
	}
	receive := "scale event/receive " + eventing.RevisionScaledType
	want := []string{"scale event", receive, receive + "/pass", receive + "/pass/decide", receive + "/pass/gather", receive + "/pass/wait", receive + "/pass/write", receive + "/prove"}

	began := time.Now()
	b.scale(3, 3)
	first := send(began)
	b.until("its proof in the trace", func() bool { return slices.Equal(names(spans, first), want) })
	b.until("the limit", b.applied(30))
	late := send(began)
	b.until("the trace of an event that came late", func() bool { return slices.Equal(names(spans, late), want) })
	for _, s := range spans.Ended() {
		if s.EndTime().Before(s.StartTime()) {
			t.Errorf("%s ended %s before it began", s.Name(), s.StartTime().Sub(s.EndTime()))
		}
	}
}

// The pass that a limit changed in is shown to whom it concerns, and to nobody else; what
// is told of its proof goes on with the trace.
func TestTracesOfPasses(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pass := func(after time.Duration) stages {
		at := start.Add(after)
		return stages{noticed: at, began: at.Add(1), gathered: at.Add(2), decided: at.Add(3), written: at.Add(4)}
	}
	for name, tt := range map[string]struct {
		do   func(tr *traces)
		want []string
	}{
		"nothing comes of it": {func(tr *traces) { tr.passed(pass(2*time.Second), start.Add(2*time.Second)) },
			[]string{"event", "event/pass", "event/pass/decide", "event/pass/gather", "event/pass/wait", "event/pass/write"}},
		"it is ahead of the caches": {func(tr *traces) {
			tr.passed(pass(0), start)
			tr.changed("team/m", pass(time.Millisecond))
			tr.passed(pass(time.Millisecond), start.Add(time.Millisecond))
			tr.proved("team/m", start.Add(time.Second), cloudevents.NewEvent())
		}, []string{"event", "event/pass", "event/pass/decide", "event/pass/gather", "event/pass/wait", "event/pass/write", "event/prove"}},
		"an older change isn't its": {func(tr *traces) {
			tr.changed("team/m", pass(-time.Minute))
			tr.passed(pass(2*time.Second), start.Add(2*time.Second))
			tr.proved("team/m", start.Add(3*time.Second), cloudevents.NewEvent())
		}, []string{"event", "event/pass", "event/pass/decide", "event/pass/gather", "event/pass/wait", "event/pass/write"}},
		"another's change isn't its": {func(tr *traces) {
			tr.changed("team/other", pass(0))
			tr.passed(pass(0), start)
			tr.proved("team/other", start.Add(time.Second), cloudevents.NewEvent())
		}, []string{"event"}},
	} {
		t.Run(name, func(t *testing.T) {
			spans, tracer := recorder()
			tr := newTraces()
			tr.tracer = tracer
			ctx, root := tracer.Start(t.Context(), "event")
			tr.hear(ctx, heard{limit: "team/m", sent: start, came: start})
			root.End()
			tt.do(tr)
			if got := names(spans, root.SpanContext().TraceID()); !slices.Equal(got, tt.want) {
				t.Errorf("spans are %q, want %q", got, tt.want)
			}
		})
	}
}

// What waits for passes and proofs is bounded, however many events come, and what isn't
// sampled doesn't wait at all.
func TestTracesAreBounded(t *testing.T) {
	_, tracer := recorder()
	tr := newTraces()
	now := time.Now()
	tr.hear(t.Context(), heard{limit: "team/m"})
	if len(tr.heard) != 0 {
		t.Error("an event that isn't traced waits")
	}
	tr.tracer = tracer
	tr.changed("team/m", stages{noticed: now})
	for range 10 * heardAtMost {
		ctx, span := tracer.Start(t.Context(), "event")
		tr.hear(ctx, heard{limit: "team/m", sent: now, came: now})
		span.End()
	}
	if len(tr.heard) != heardAtMost {
		t.Errorf("%d events wait, want at most %d", len(tr.heard), heardAtMost)
	}
	tr.passed(stages{}, now)
	if len(tr.heard) != 0 || len(tr.open["team/m"]) != openAtMost {
		t.Errorf("%d events wait still, %d for the proof, want %d", len(tr.heard), len(tr.open["team/m"]), openAtMost)
	}
	event := tr.proved("team/m", now, cloudevents.NewEvent())
	if !trace.SpanContextFromContext(eventing.TraceOf(t.Context(), event)).IsSampled() {
		t.Error("what is told of the proof doesn't go on with the trace")
	}
	tr.keep(nil)
	if len(tr.changes)+len(tr.open) != 0 {
		t.Errorf("of limits that are gone %v and %v are kept", tr.changes, tr.open)
	}
}

package limit

import (
	"context"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/eventing"
)

const (
	// heardAtMost bounds the events whose traces are gone on with between two passes, and
	// openAtMost those that wait for the proof of one limit. Of more, the first are traced.
	heardAtMost, openAtMost = 64, 8
	// apart is how far the pass that acts on a change and the event that tells of it may be: the
	// caches tell of the change too, sooner or later than the event.
	apart = time.Second
)

// stages are when a pass was where.
type stages struct{ noticed, began, gathered, decided, written time.Time }

// change is the last one of a limit: the pass that wrote it and, once it is proved, when that
// was seen and what it came to.
type change struct {
	stages

	proved time.Time
	about  []attribute.KeyValue
}

// heard is an event whose trace waits for the pass that acts on it.
type heard struct {
	parent trace.SpanContext
	// limit is the key of the RateLimit that it is about.
	limit string
	// sent is when, by the sender's clock, and came by ours.
	sent, came time.Time
}

// traces go on with those of scale events. Passes are nobody's, and one may act on many events:
// so spans are made afterwards, from the times that were noted, in the trace of each
// event of which something came. Nothing is decided by them.
type traces struct {
	tracer trace.Tracer

	mu sync.Mutex
	// heard since the last pass; only sampled ones.
	heard []heard

	// changes and open, both by the key of a RateLimit, are the passes' alone.
	changes map[string]*change
	open    map[string][]trace.SpanContext
}

func newTraces() *traces {
	return &traces{
		tracer:  otel.Tracer("sluice.dev/sluice/functions/limit"),
		changes: map[string]*change{}, open: map[string][]trace.SpanContext{},
	}
}

// receives begins the span of an event's arrival.
func (t *traces) receives(ctx context.Context, d eventing.RevisionScaled) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, "receive "+eventing.RevisionScaledType, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("k8s.namespace.name", d.Model.Namespace), attribute.String("sluice.model", d.Model.Name), attribute.String("sluice.revision", d.Revision)))
}

// hear notes an event in whose trace the next pass is to be.
func (t *traces) hear(ctx context.Context, h heard) {
	h.parent = trace.SpanContextFromContext(ctx)
	if !h.parent.IsSampled() {
		return
	}
	if h.sent.IsZero() {
		h.sent = h.came
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heard) < heardAtMost {
		t.heard = append(t.heard, h)
	}
}

// changed notes that a limit is another since a pass.
func (t *traces) changed(limit string, in stages) { t.changes[limit] = &change{stages: in} }

// passed shows a pass in the traces that waited for it. An event of whose change there is
// nothing to be seen yet waits a little longer: it may be ahead of the caches.
func (t *traces) passed(in stages, now time.Time) {
	t.mu.Lock()
	all := t.heard
	t.heard = nil
	t.mu.Unlock()
	var ahead []heard
	for _, h := range all {
		switch c := t.changes[h.limit]; {
		case c != nil && c.noticed.After(h.sent.Add(-apart)):
			t.show(h.parent, c.stages)
			if !c.proved.IsZero() {
				t.showProof(h.parent, c)
			} else if len(t.open[h.limit]) < openAtMost {
				t.open[h.limit] = append(t.open[h.limit], h.parent)
			}
		case now.Sub(h.came) < apart:
			ahead = append(ahead, h)
		default:
			t.show(h.parent, in)
		}
	}
	if len(ahead) > 0 {
		t.mu.Lock()
		t.heard = append(ahead, t.heard...)[:min(heardAtMost, len(ahead)+len(t.heard))]
		t.mu.Unlock()
	}
}

// show makes the spans of a pass.
func (t *traces) show(parent trace.SpanContext, in stages) {
	ctx := trace.ContextWithSpanContext(context.Background(), parent)
	ctx, pass := t.tracer.Start(ctx, "pass", trace.WithTimestamp(in.noticed))
	for _, s := range []struct {
		name     string
		from, to time.Time
	}{
		{"wait", in.noticed, in.began}, {"gather", in.began, in.gathered}, {"decide", in.gathered, in.decided}, {"write", in.decided, in.written},
	} {
		_, span := t.tracer.Start(ctx, s.name, trace.WithTimestamp(s.from))
		span.End(trace.WithTimestamp(s.to))
	}
	pass.End(trace.WithTimestamp(in.written))
}

// proved ends the traces that wait for a limit's proof, and returns the event that tells of it in
// the first of them.
func (t *traces) proved(limit string, now time.Time, event cloudevents.Event, about ...attribute.KeyValue) cloudevents.Event {
	c, open := t.changes[limit], t.open[limit]
	delete(t.open, limit)
	if c == nil {
		return event
	}
	c.proved, c.about = now, about
	for i, parent := range open {
		if proof := t.showProof(parent, c); i == 0 {
			event = eventing.WithTrace(trace.ContextWithSpanContext(context.Background(), proof), event)
		}
	}
	return event
}

// showProof makes the span from the write of a limit to its proof on every pod: istiod's part
// and Envoy's.
func (t *traces) showProof(parent trace.SpanContext, c *change) trace.SpanContext {
	ctx := trace.ContextWithSpanContext(context.Background(), parent)
	_, span := t.tracer.Start(ctx, "prove", trace.WithTimestamp(c.written), trace.WithAttributes(c.about...))
	span.End(trace.WithTimestamp(c.proved))
	return span.SpanContext()
}

// keep forgets the limits that are no more.
func (t *traces) keep(limits sets.Set[string]) {
	for limit := range t.changes {
		if !limits.Has(limit) {
			delete(t.changes, limit)
			delete(t.open, limit)
		}
	}
}

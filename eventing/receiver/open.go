package receiver

import (
	"context"
	"errors"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"go.uber.org/zap"
)

// Bounds are those of a door.
type Bounds struct {
	// Bytes bounds an event, Held those that are under way together.
	Bytes, Held int64
	// AtOnce bounds how many are under way.
	AtOnce int
	// Answered bounds the time for one.
	Answered time.Duration
}

// Answerer answers an event that a request has brought.
type Answerer func(ctx context.Context, r *http.Request, event cloudevents.Event) Answer

// Answer is what comes of an event: a reply, nothing, or why it wasn't taken.
type Answer struct {
	Outcome Outcome
	// Status is HTTP's. By that of a failure Knative decides whether the event is delivered again:
	// it is after 404, 408, 409, 429 and those of 500 and above.
	Status int
	// Reply is the event that answers; nil for none.
	Reply *cloudevents.Event
	// RetryAfter is when to come again, as the header has it; "" where that isn't said.
	RetryAfter string
	// Why it wasn't taken, for who looks at the dead letter.
	Why string
	// Done is told that the reply was written; nil where nobody asks.
	Done func()
}

// Open returns a Door for events of any type. What they may be about is up to Admit, which knows
// who delivers them, and to answer: a user's source and subject say what he likes.
func Open(o Options, b Bounds, answer Answerer) *Door {
	d := newDoor(o, b)
	d.answer = answer
	return d
}

// reply answers an event.
func (d *Door) reply(ctx context.Context, w http.ResponseWriter, r *http.Request, event cloudevents.Event) {
	a := d.answer(ctx, r, event)
	if a.Done != nil {
		defer a.Done()
	}
	if a.Outcome == Rejected {
		d.reject("", event.Source(), errors.New(a.Why))
	} else {
		d.Count(unknown, a.Outcome)
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	switch {
	case a.Why != "":
		http.Error(w, a.Why, a.Status)
	case a.Reply == nil:
		w.WriteHeader(a.Status)
	default:
		message := binding.ToMessage(a.Reply)
		if err := cehttp.WriteResponseWriter(ctx, message, a.Status, w); err != nil {
			d.Log.Debugw("Reply not written; the Broker delivers the event again", zap.Error(err))
		}
	}
}

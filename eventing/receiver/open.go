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
	// Shares is how many addressees it takes to fill the door: each may have so small a part of
	// AtOnce and of Held, but always an event. All is one's where it is 0.
	Shares int
	// Answered bounds the time for one.
	Answered time.Duration
}

// Finder finds out whom the event is for that a request brings, before any of it is read. Where it is
// for nobody, or can't be told for now, the Answer is set and the Addressee isn't.
type Finder func(r *http.Request) (*Addressee, Answer)

// Addressee is whom an event is for.
type Addressee struct {
	// Key tells it from others: it has a share of the door's room. Name is what it is called.
	Key, Name string
	Answer    Answerer
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
// who delivers them, and to whom they are for: a user's source and subject say what he likes.
func Open(o Options, b Bounds, find Finder) *Door {
	d := newDoor(o, b)
	d.find = find
	return d
}

// reply writes the answer to what a sender has sent.
func (d *Door) reply(w http.ResponseWriter, r *http.Request, sender string, a Answer) {
	if a.Done != nil {
		defer a.Done()
	}
	if a.Outcome == Rejected {
		d.rejectAs(d.countedAs(r), "", sender, errors.New(a.Why))
	} else {
		d.Count(d.countedAs(r), a.Outcome)
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
		if err := cehttp.WriteResponseWriter(r.Context(), message, a.Status, w); err != nil {
			d.Log.Debugw("Reply not written; the Broker delivers the event again", zap.Error(err))
		}
	}
}

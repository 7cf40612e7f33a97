// Package receiver is the one door by which events come in. It says who may send, how
// large an event may be, how many may be under way and for how long, which types there
// are and whether an event is what its schema asks for, and whose Models it may be about;
// and it counts what came, by type and outcome. What is done about an event is up to who
// has the door. A door of Kinds takes events of ours, and says no more than that it did; an open
// one, in open.go, takes those of users, and has an answer to each.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/eventing"
)

const (
	// MaxBytes bounds what is read of an event, and of its headers.
	MaxBytes = 64 << 10
	// atOnce bounds the events that are read and taken at the same time. What comes
	// beyond is sent again by a Broker.
	atOnce = 64
	// headersWithin, readWithin and answeredWithin bound one event's time.
	headersWithin, readWithin, answeredWithin = 5 * time.Second, 10 * time.Second, 10 * time.Second
	// writtenWithin bounds the time that an answer takes on its way, once it is there.
	writtenWithin = 30 * time.Second
	// idleFor is how long a connection is kept for the next event.
	idleFor = 2 * time.Minute
)

// Outcome is what became of an event, for its metric: one of few words, and never a
// sender's.
type Outcome string

const (
	// Rejected is for good: the sender, the event, or what it is about is wrong.
	Rejected Outcome = "rejected"
	// Busy is of what came while too many were under way; a Broker sends it again.
	Busy Outcome = "busy"
	// Failed is of what could not be taken for now; a Broker sends it again.
	Failed Outcome = "failed"
)

// unknown is the type of events that are not of a Kind, in metrics.
const unknown = "unknown"

// Kind is a type of events that a door takes.
type Kind struct {
	eventType string
	// parse returns what an event has done, or what is wrong with it.
	parse func(cloudevents.Event) (func(context.Context) (Outcome, error), error)
}

// Of returns the Kind of an event type, given how one is parsed and what it has done. An
// error of take's says that the event may be sent again.
func Of[T any](eventType string, parse func(cloudevents.Event) (T, error), take func(context.Context, T, cloudevents.Event) (Outcome, error)) Kind {
	return Kind{eventType: eventType, parse: func(event cloudevents.Event) (func(context.Context) (Outcome, error), error) {
		data, err := parse(event)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (Outcome, error) { return take(ctx, data, event) }, nil
	}}
}

// Options are what a door is made of.
type Options struct {
	// Admit returns why a request isn't let in, after it has written the status.
	Admit func(http.ResponseWriter, *http.Request) error
	// Namespace is that of whoever Admit lets in, for a door of Kinds.
	Namespace string
	// Count is told of each event. CountedAs is what one is counted as that isn't of a Kind, by its
	// request: one of few words, and "unknown" where it is nil.
	Count     func(eventType string, outcome Outcome)
	CountedAs func(*http.Request) string
	Clock     clock.PassiveClock
	Log       *zap.SugaredLogger
}

// Door takes in events over HTTP.
type Door struct {
	Options
	bounds Bounds

	kinds map[string]Kind
	// find is set where events of any type are answered.
	find     Finder
	underWay chan struct{}
	// held is what the events that are under way may be together, in bytes.
	held *semaphore.Weighted
	// shares are what of both one addressee may have.
	shares *shares
	// rejections that were logged.
	rejections rejections
}

func newDoor(o Options, b Bounds) *Door {
	return &Door{
		Options: o, bounds: b, kinds: map[string]Kind{},
		underWay: make(chan struct{}, b.AtOnce), held: semaphore.NewWeighted(b.Held), shares: newShares(b),
	}
}

// New returns a Door for events of these Kinds.
func New(o Options, kinds ...Kind) *Door {
	d := newDoor(o, Bounds{Bytes: MaxBytes, AtOnce: atOnce, Held: atOnce * MaxBytes, Answered: answeredWithin})
	for _, k := range kinds {
		d.kinds[k.eventType] = k
	}
	return d
}

// Server returns what serves the door at an address, within its bounds.
func (d *Door) Server(address string) *http.Server {
	return &http.Server{
		Addr: address, Handler: d, MaxHeaderBytes: MaxBytes, IdleTimeout: idleFor,
		ReadHeaderTimeout: headersWithin, ReadTimeout: readWithin, WriteTimeout: max(answeredWithin, d.bounds.Answered+writtenWithin),
	}
}

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, d.bounds.Bytes)
	if err := d.Admit(w, r); err != nil {
		d.rejectAs(d.countedAs(r), "", host(r), err)
		_, _ = fmt.Fprintln(w, "rejected:", err)
		return
	}
	of := &Addressee{}
	if d.find != nil {
		var refusal Answer
		if of, refusal = d.find(r); of == nil {
			d.reply(w, r, host(r), refusal)
			return
		}
	}
	leave, err := d.enter(r, *of)
	if err != nil {
		d.Count(d.countedAs(r), Busy)
		again(w, err)
		return
	}
	defer leave()
	event, err := cloudevents.NewEventFromHTTPRequest(r)
	if err != nil {
		d.rejectAs(d.countedAs(r), "", host(r), err)
		http.Error(w, fmt.Sprint("rejected: not a CloudEvent: ", err), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.bounds.Answered)
	defer cancel()
	if of.Answer != nil {
		r = r.WithContext(ctx)
		d.reply(w, r, event.Source(), of.Answer(ctx, r, *event))
		return
	}
	var refused *refusal
	switch err := d.Receive(ctx, *event); {
	case errors.As(err, &refused):
		http.Error(w, "rejected: "+refused.Error(), refused.status)
	case err != nil:
		again(w, err)
	}
}

func (d *Door) countedAs(r *http.Request) string {
	if d.CountedAs == nil {
		return unknown
	}
	return d.CountedAs(r)
}

// enter takes a place for an event, and room for what it may be at most: of its addressee's share
// first, where the door knows addressees, so that nobody is kept out by whoever has all of his.
func (d *Door) enter(r *http.Request, of Addressee) (leave func(), err error) {
	size := d.bounds.Bytes
	if r.ContentLength >= 0 {
		size = min(r.ContentLength, size)
	}
	giveBack := func() {}
	if d.find != nil {
		if giveBack, err = d.shares.take(of, size); err != nil {
			return nil, err
		}
	}
	select {
	case d.underWay <- struct{}{}:
	default:
		giveBack()
		return nil, fmt.Errorf("%d events are under way already", d.bounds.AtOnce)
	}
	if !d.held.TryAcquire(size) {
		<-d.underWay
		giveBack()
		return nil, fmt.Errorf("events of %d bytes are under way already", d.bounds.Held)
	}
	return func() { d.held.Release(size); <-d.underWay; giveBack() }, nil
}

// refusal is that of an event which would be refused again.
type refusal struct {
	status int
	why    error
}

func (r *refusal) Error() string { return r.why.Error() }
func (r *refusal) Unwrap() error { return r.why }

// Receive takes in one event of a sender that was let in, as part of the event's trace.
func (d *Door) Receive(ctx context.Context, event cloudevents.Event) error {
	kind, ok := d.kinds[event.Type()]
	if !ok {
		return d.refuse(event, http.StatusBadRequest, fmt.Errorf("type is %q, which is not taken here", brief(event.Type())))
	}
	take, err := kind.parse(event)
	if err != nil {
		return d.refuse(event, http.StatusBadRequest, err)
	}
	if err := MayAct(Origin{Delivered: d.Namespace, Source: namespaceOf(event.Source())}, subjectNamespace(event.Subject())); err != nil {
		return d.refuse(event, http.StatusForbidden, err)
	}
	outcome, err := take(eventing.TraceOf(ctx, event))
	if err != nil {
		d.Count(kind.eventType, Failed)
		return fmt.Errorf("taking an event of type %s: %w", kind.eventType, err)
	}
	d.Count(kind.eventType, outcome)
	return nil
}

func (d *Door) refuse(event cloudevents.Event, status int, why error) error {
	d.reject(event.Type(), event.Source(), why)
	return &refusal{status: status, why: why}
}

// again answers so that a Broker sends the event once more.
func again(w http.ResponseWriter, why error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "not now: "+why.Error(), http.StatusServiceUnavailable)
}

// host is where a request came from: of its sender no more is known.
func host(r *http.Request) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return address
}

// subjectNamespace is that of an object which a subject names; "" of one that is in none.
func subjectNamespace(subject string) string {
	namespace, _, ok := strings.Cut(subject, "/")
	if !ok {
		return ""
	}
	return namespace
}

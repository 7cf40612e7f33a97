package limit

import (
	"context"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// longestWay is the most that an event's way here is taken to last. One whose time is
// further off was stamped by another clock.
const longestWay = time.Minute

// What becomes of an event that isn't rejected.
const (
	looked receiver.Outcome = "looked"
	// standby is for a replica that another one leads: its caches tell it of the same
	// change.
	standby receiver.Outcome = "standby"
)

// Door is where the function's events come in, to whom admit lets in.
func (f *Function) Door(admit func(http.ResponseWriter, *http.Request) error) *receiver.Door {
	return receiver.New(receiver.Options{
		Admit: admit, Namespace: sluice.SystemNamespace, Clock: f.Clock, Log: f.Log,
		Count: func(eventType string, outcome receiver.Outcome) {
			eventsReceived.WithLabelValues(eventType, string(outcome)).Inc()
		},
	}, receiver.Of(eventing.RevisionScaledType, eventing.ParseRevisionScaled, f.receive))
}

// receive takes in one event. It only says "look now": whatever the event claims,
// the next pass goes by the state of the cluster, so events may be lost, doubled,
// late or out of order.
func (f *Function) receive(ctx context.Context, d eventing.RevisionScaled, event cloudevents.Event) (receiver.Outcome, error) {
	ctx, span := f.traces.receives(ctx, d)
	defer span.End()
	if !f.leads.Load() {
		return standby, nil
	}
	if way := f.Clock.Since(event.Time()); way.Abs() < longestWay {
		steps.WithLabelValues("event").Observe(max(0, way.Seconds())) // clocks differ
	}
	f.traces.hear(ctx, heard{limit: d.Model.String(), sent: event.Time(), came: f.Clock.Now()})
	f.Look()
	return looked, nil
}

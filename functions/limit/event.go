package limit

import (
	"context"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"

	"sluice.dev/sluice/eventing"
)

// Receive takes in one event. It only says "look now": whatever the event claims,
// the next pass goes by the state of the cluster, so events may be lost, doubled,
// late or out of order. An event that is not valid is refused, for good.
func (f *Function) Receive(_ context.Context, event cloudevents.Event) cloudevents.Result {
	if _, err := eventing.ParseRevisionScaled(event); err != nil {
		eventsReceived.WithLabelValues(knownType(event.Type()), "rejected").Inc()
		f.Log.Warnw("Event rejected", zap.String("id", event.ID()), zap.Error(err))
		return cloudevents.NewHTTPResult(http.StatusBadRequest, "rejected: %w", err)
	}
	if !f.leads.Load() {
		// Another replica leads and its caches tell it of the same change.
		eventsReceived.WithLabelValues(eventing.RevisionScaledType, "standby").Inc()
		return cloudevents.ResultACK
	}
	eventsReceived.WithLabelValues(eventing.RevisionScaledType, "looked").Inc()
	steps.WithLabelValues("event").Observe(max(0, f.Clock.Since(event.Time()).Seconds())) // clocks differ
	f.Look()
	return cloudevents.ResultACK
}

// knownType keeps a sender's inventions out of metric labels.
func knownType(t string) string {
	if t == eventing.RevisionScaledType {
		return t
	}
	return "unknown"
}

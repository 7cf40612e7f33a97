package trigger

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
)

var (
	events = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_trigger_events_total",
		Help: "Events for InferenceTriggers, by outcome: replied, started (a Batch), refused (for good), away (the Model), failed (for now), busy, own (a reply that came back, or what a Batch of its own wrote), looped (a reply that too many led to), rejected (no event, or of nobody who may).",
	}, []string{"outcome"})
	requests = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_batch_requests_total",
		Help: "Events by which Brokers ask for Batches, by outcome: started, refused (for good), failed (for now), busy, rejected (no event, or of nobody who may).",
	}, []string{"outcome"})
	underWay = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_trigger_requests",
		Help: "Requests to Models for events that are under way.",
	})
	seconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "sluice_trigger_request_seconds",
		Help:    "How long a request to a Model took, from the event to the whole answer, or until there was none.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 12),
	})
)

// What an event is counted as, by whom its path is for.
const (
	asEvent   = "event"
	asRequest = "request"
)

func countedAs(r *http.Request) string {
	if eventing.IsOfBroker(r.URL.Path) {
		return asRequest
	}
	return asEvent
}

func count(as string, outcome receiver.Outcome) {
	if as == asRequest {
		requests.WithLabelValues(string(outcome)).Inc()
		return
	}
	events.WithLabelValues(string(outcome)).Inc()
}

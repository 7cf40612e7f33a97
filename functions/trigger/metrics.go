package trigger

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	events = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_trigger_events_total",
		Help: "Events for InferenceTriggers, by outcome: replied, started (a Batch), refused (for good), away (the Model), failed (for now), busy, own (a reply that came back), looped (a reply that too many led to), rejected (no event, or of nobody who may).",
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

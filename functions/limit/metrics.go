package limit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// stepBuckets end where something else than slowness is the matter.
var stepBuckets = []float64{.005, .01, .02, .05, .1, .15, .2, .3, .5, .75, 1, 2, 5, 10, 30}

var (
	limitInForce = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sluice_limit_requests_per_second",
		Help: "The rate that all gateway pods together should admit to a Model, as last decided.",
	}, []string{"namespace", "model"})
	convergence = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "sluice_limit_convergence_seconds",
		Help:    "From the notice of a change to the proof that every ready gateway pod enforces the new limit.",
		Buckets: stepBuckets,
	})
	steps = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sluice_limit_step_seconds",
		Help: "Steps of convergence: event (from the source's time in it to its arrival), wait (from the notice to the pass), " +
			"write (until the API server has the slots), prove (from there to the proof on every gateway pod).",
		Buckets: stepBuckets,
	}, []string{"step"})
	repairs = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_slot_repairs_total",
		Help: "Slots that others had edited, deleted or duplicated, put right.",
	}, []string{"was"})
	writes = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_slot_writes_total",
		Help: "Writes of slots to the API server, by outcome: written, conflict, failed.",
	}, []string{"outcome"})
	statusWrites = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_status_writes_total",
		Help: "Writes of RateLimits' statuses to the API server, by outcome: written, conflict, failed.",
	}, []string{"outcome"})
	statusesWaiting = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_limit_statuses_waiting",
		Help: "RateLimits whose newest status waits for its turn to be written.",
	})
	passErrors = promauto.NewCounter(prometheus.CounterOpts{
		Name: "sluice_limit_pass_errors_total",
		Help: "Passes that failed and were tried again.",
	})
	proofErrors = promauto.NewCounter(prometheus.CounterOpts{
		Name: "sluice_limit_proof_errors_total",
		Help: "Questions to gateway pods that got no answer.",
	})
	eventsReceived = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_events_received_total",
		Help: "CloudEvents received, by type and outcome: looked, standby, rejected.",
	}, []string{"type", "outcome"})
	eventsSent = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_events_sent_total",
		Help: "CloudEvents sent, by type and outcome: sent, failed, dropped.",
	}, []string{"type", "outcome"})
)

// recordLimits shows the limits of the Models that there are and of no others.
func recordLimits(plans []plan) {
	limitInForce.Reset()
	for _, p := range plans {
		if p.err == nil && !p.gone {
			rate, _ := p.limit.Float64()
			limitInForce.WithLabelValues(p.of.Namespace, p.of.Name).Set(rate)
		}
	}
}

package limit

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sluice.dev/sluice/eventing"
)

// stepBuckets end where something else than slowness is the matter.
var stepBuckets = []float64{.005, .01, .02, .05, .1, .15, .2, .3, .5, .75, 1, 2, 5, 10, 30}

var (
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
	slotFill = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sluice_limit_slot_fill_ratio",
		Help: "What limits claim of a slot's room. The gateway has more slots from 0.6 on; above 1, limits are refused.",
	}, []string{"slot"})
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
		Help: "CloudEvents received, by type (unknown unless it is one that is taken) and outcome: looked, standby, rejected, busy.",
	}, []string{"type", "outcome"})
	eventsSent = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_events_sent_total",
		Help: "CloudEvents sent, by type and outcome: sent, failed, dropped.",
	}, []string{"type", "outcome"})
)

// snapshot shows all of what one pass decided or saw, and nothing of what was before it.
type snapshot struct {
	about *prometheus.Desc
	shown atomic.Pointer[[]prometheus.Metric]
}

// Describe implements prometheus.Collector.
func (s *snapshot) Describe(out chan<- *prometheus.Desc) { out <- s.about }

// Collect implements prometheus.Collector.
func (s *snapshot) Collect(out chan<- prometheus.Metric) {
	if shown := s.shown.Load(); shown != nil {
		for _, m := range *shown {
			out <- m
		}
	}
}

func (s *snapshot) gauge(value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(s.about, prometheus.GaugeValue, value, labels...)
}

// limitsInForce shows the limits of the Models that there are.
type limitsInForce struct{ snapshot }

// limitsBehind shows the gateway pods that were not seen to enforce limits.
type limitsBehind struct{ snapshot }

var (
	inForce = newLimitsInForce()
	behind  = newLimitsBehind()
)

func init() {
	prometheus.MustRegister(inForce, behind)
	// Losses are there from the start: of a counter that comes with its first one Prometheus sees
	// no increase.
	for _, outcome := range []string{"failed", "dropped"} {
		eventsSent.WithLabelValues(eventing.LimitAppliedType, outcome)
	}
}

func newLimitsInForce() *limitsInForce {
	return &limitsInForce{snapshot{about: prometheus.NewDesc("sluice_limit_requests_per_second",
		"The rate that all gateway pods together should admit to a Model, as last decided.", []string{"namespace", "model"}, nil)}}
}

func newLimitsBehind() *limitsBehind {
	return &limitsBehind{snapshot{about: prometheus.NewDesc("sluice_limit_gateway_pod_behind",
		"How many limits a gateway pod was not seen to enforce as last decided, of those that it should; only of pods that lag.",
		[]string{"gateway", "gateway_pod"}, nil)}}
}

// record takes the place of what was shown.
func (l *limitsInForce) record(plans []plan) {
	shown := make([]prometheus.Metric, 0, len(plans))
	for _, p := range plans {
		if !p.gone && !p.refused() {
			rate, _ := p.limit.Float64()
			shown = append(shown, l.gauge(rate, p.of.Namespace, p.of.Name))
		}
	}
	l.shown.Store(&shown)
}

// record takes the place of what was shown.
func (l *limitsBehind) record(plans []plan) {
	lacking := map[Pod]int{}
	for _, p := range plans {
		if p.gone || p.reported == nil {
			continue
		}
		for _, q := range p.reported.lagging {
			lacking[q.pod]++
		}
	}
	shown := make([]prometheus.Metric, 0, len(lacking))
	for pod, limits := range lacking {
		shown = append(shown, l.gauge(float64(limits), pod.Gateway, pod.Name))
	}
	l.shown.Store(&shown)
}

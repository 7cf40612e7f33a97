package asked

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	questions = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_whatif_questions_total",
		Help: "Questions, by what is asked for (whatif, proposal) and outcome: answered, unknown, missing, refused, busy, late, left, away, failed.",
	}, []string{"question", "outcome"})
	seconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sluice_whatif_seconds",
		Help:    "From a question that was answered to its answer, by what is asked for: whatif, proposal.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 240, 500},
	}, []string{"question"})
)

package asked

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	questions = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_whatif_questions_total",
		Help: "Questions, by what is asked for (whatif, proposal) and outcome: " +
			"answered, unknown (nobody who is known, or may ask), missing (no such Model), refused (what can't be asked so), busy, " +
			"late (it would take too long), left (who asked has gone), away (what it takes isn't known now), failed.",
	}, []string{"question", "outcome"})
	seconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sluice_whatif_seconds",
		Help:    "From a question that was answered to its answer, by what is asked for: whatif, proposal.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 240, 500},
	}, []string{"question"})
)

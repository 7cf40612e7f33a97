package watch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	readErrors = promauto.NewCounter(prometheus.CounterOpts{
		Name: "sluice_limit_bounds_errors_total",
		Help: "Readings of a gateway pod's counters for the bounds of trials that failed, be it for some of the Models; a trial whose pods aren't read for 10 s ends.",
	})
	breaches = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_limit_breaches_total",
		Help: "Bounds of trials that were passed, by reason: ErrorPercent, Latency, Unwatched.",
	}, []string{"reason"})
)

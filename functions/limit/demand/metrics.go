package demand

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var pollErrors = promauto.NewCounter(prometheus.CounterOpts{
	Name: "sluice_limit_demand_errors_total",
	Help: "Readings of a gateway pod's counters that failed; the demand that was seen there stands for 10 s.",
})

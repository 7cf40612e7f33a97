package lease

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	asks = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_batch_asks_total",
		Help: "Asks for credits, by outcome: leased, none (nothing is left), unknown (no token, or another's), bad, full, busy, homeless (no such batch, or none that may ask its Model).",
	}, []string{"outcome"})
	fetchErrors = promauto.NewCounter(prometheus.CounterOpts{
		Name: "sluice_batch_slack_errors_total",
		Help: "Questions to the limiter, what is left of Models, that got no answer.",
	})
)

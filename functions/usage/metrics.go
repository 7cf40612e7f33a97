package usage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	readings = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_usage_readings_total",
		Help: "Readings of what is counted, by source: gateway, node; by outcome: read, failed.",
	}, []string{"source", "outcome"})
	podsEnded = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_usage_gateway_pods_ended_total",
		Help: "Gateway pods that ended, by how they were read last: certain, with nothing under way; uncertain, otherwise.",
	}, []string{"reading"})
	writes = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_usage_writes_total",
		Help: "Writes of Usages, by outcome: written, conflict, failed.",
	}, []string{"outcome"})
	eventsSent = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_usage_events_total",
		Help: "Events of usage handed to the Broker, by outcome: sent, failed, dropped.",
	}, []string{"outcome"})
	keptModels = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_usage_models",
		Help: "Models of which usage is kept, those that are gone included.",
	})
	lag = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_usage_lag_seconds",
		Help: "How long ago the gateway pod was read that was read longest ago; 0 without one.",
	})
)

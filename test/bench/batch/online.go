package main

import (
	"context"
	"math"
	"net/http"

	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// call has online callers offer a schedule of requests to a Model.
func call(ctx context.Context, at platform.Endpoint, path string, schedule load.Schedule, stop <-chan struct{}) (*openloop.Callers, error) {
	return openloop.Call(ctx, openloop.Load{
		Target:   load.Target{Address: at.Address, Host: at.Host, Method: http.MethodPost, Path: path},
		Schedule: schedule, Stop: stop,
	})
}

// p99 of latencies, in seconds; NaN of fewer than there have to be for one.
func p99(latencies []float64) float64 {
	if len(latencies) < 100 {
		return math.NaN()
	}
	return stats.Quantile(latencies, 0.99)
}

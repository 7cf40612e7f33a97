package warmup

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// holdAnswer is how long whoever asks whether the replica may serve is kept waiting for
// a verdict. The activator asks every 200 ms and waits for 300: so it hears of one at
// once, and not up to 200 ms later.
const holdAnswer = 250 * time.Millisecond

// Handler answers whether the replica may serve, how far it is, and its metrics.
func (e *Engine) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+warmup.ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if !e.AwaitReady(r.Context(), holdAnswer) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET "+warmup.StatusPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e.Status()) // who asked may have gone
	})
	mux.HandleFunc("GET "+warmup.MetricsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		writeMetrics(w, e.Status())
	})
	return mux
}

// states are all that there are, for a metric of each.
var states = []warmup.State{warmup.Waiting, warmup.Warming, warmup.Warm, warmup.Failed, warmup.ServingCold}

// writeMetrics writes Prometheus' text format, version 0.0.4. Its client library would
// be the larger part of this container's memory.
func writeMetrics(w http.ResponseWriter, status warmup.Status) {
	fmt.Fprint(w, "# HELP sluice_warmup_state 1 for the state that the replica is in.\n# TYPE sluice_warmup_state gauge\n")
	for _, state := range states {
		in := 0
		if state == status.State {
			in = 1
		}
		fmt.Fprintf(w, "sluice_warmup_state{state=%q} %d\n", state, in)
	}
	for _, m := range []struct {
		name, kind, help string
		value            float64
	}{
		{"starts_total", "counter", "Starts of the model that were seen.", float64(status.Starts)},
		{"requests", "gauge", "Requests of the last warm-up that were answered as expected.", float64(status.Requests)},
		{"rounds", "gauge", "Rounds that the last warm-up has completed.", float64(status.Rounds)},
		{"seconds", "gauge", "How long the last warm-up took.", status.Seconds},
		{"first_request_seconds", "gauge", "Latency of its first request.", status.FirstMilliseconds / 1000},
		{"last_round_seconds", "gauge", "Mean latency of its last round.", status.LastMilliseconds / 1000},
	} {
		fmt.Fprintf(w, "# HELP sluice_warmup_%s %s\n# TYPE sluice_warmup_%[1]s %[3]s\nsluice_warmup_%[1]s %[4]g\n", m.name, m.help, m.kind, m.value)
	}
}

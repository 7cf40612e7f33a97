// Package oip serves the ranker over HTTP by the Open Inference Protocol v2 (REST):
// https://github.com/kserve/open-inference-protocol. The wire format is in
// protocol.go, without I/O; limits and handlers are here.
package oip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/test/images/ranker/internal/score"
)

// maxBody is the largest infer request, in bytes: 256 candidates of 30 values at
// 64 bytes each, and room for the rest.
const maxBody = 512 << 10

// errBusy says that a request waited for its turn as long as it may.
var errBusy = errors.New("all inference slots are taken")

// Config holds a server's limits and its sources of time and log lines.
type Config struct {
	Version     string
	Replica     string        // which of several servers this is
	Concurrency int           // inferences that run at once; further requests wait
	MaxWait     time.Duration // how long a request waits for its turn
	Initialize  time.Duration // how long the first inference prepares all batch sizes
	Settle      time.Duration // how much longer the first inference takes, and later ones less and less
	CrashOn     string        // the header of a request for inference that ends the process
	Crash       func()        // ends it
	Now         func() time.Time
	Log         *slog.Logger
}

// Server answers the protocol's requests for one model.
type Server struct {
	model    *score.Model
	config   Config
	slots    chan struct{}
	draining atomic.Bool
	warmth   warmth
	// initialize is done by the first inference.
	initialize func() error
	// inferences are those that have begun.
	inferences atomic.Int64
}

// NewServer returns a server that is ready at once; its first inference at each
// batch size compiles.
func NewServer(model *score.Model, config Config) *Server {
	s := &Server{model: model, config: config, slots: make(chan struct{}, config.Concurrency)}
	s.initialize = sync.OnceValue(func() error {
		if config.Initialize == 0 {
			return nil
		}
		until := config.Now().Add(config.Initialize)
		return model.Exercise(func() bool { return config.Now().Before(until) })
	})
	return s
}

// Drain makes the ready endpoints say no, while inference goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// Handler routes the protocol's paths. Every error is JSON: {"error": "..."}.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v2", only(http.MethodGet, s.serverMetadata))
	mux.HandleFunc("/v2/health/live", only(http.MethodGet, s.live))
	mux.HandleFunc("/v2/health/ready", only(http.MethodGet, s.ready))
	mux.HandleFunc("/v2/models/{model}", only(http.MethodGet, s.known(s.modelMetadata)))
	mux.HandleFunc("/v2/models/{model}/ready", only(http.MethodGet, s.known(s.modelReady)))
	mux.HandleFunc("/v2/models/{model}/infer", only(http.MethodPost, s.known(s.counted(s.infer))))
	mux.HandleFunc("/v2/warmth", only(http.MethodGet, s.told))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("no such path: %s", r.URL.Path))
	})
	return traced(mux)
}

// TraceHeader tells the caller which trace context the request came with, after all that it passed.
const TraceHeader = "Got-Traceparent"

func traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Traceparent"); got != "" {
			w.Header().Set(TraceHeader, got)
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) serverMetadata(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, serverMetadata{Name: modelName, Version: s.config.Version, Extensions: []string{}})
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]bool{"live": true})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	status, ready := s.readiness()
	reply(w, status, map[string]bool{"ready": ready})
}

func (s *Server) modelReady(w http.ResponseWriter, _ *http.Request) {
	status, ready := s.readiness()
	reply(w, status, map[string]any{"name": modelName, "ready": ready})
}

func (s *Server) readiness() (status int, ready bool) {
	if s.draining.Load() {
		return http.StatusServiceUnavailable, false
	}
	return http.StatusOK, true
}

func (s *Server) modelMetadata(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, modelMetadata{
		Name:     modelName,
		Platform: "onnx_gomlx",
		Inputs:   []tensorMetadata{{Name: inputName, Datatype: "FP32", Shape: []int{-1, s.model.Features()}}},
		Outputs: []tensorMetadata{
			{Name: scoreOutput, Datatype: "FP32", Shape: []int{-1}},
			{Name: orderOutput, Datatype: "INT64", Shape: []int{-1}},
		},
	})
}

// infer reads the whole request before it takes a slot, so that a slow sender
// holds none.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Errorf("body: larger than %d bytes", tooLarge.Limit))
			return
		}
		fail(w, http.StatusBadRequest, fmt.Errorf("body: %w", err))
		return
	}
	request, err := parseRequest(body, s.model.Features())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	scores, times, err := s.score(r.Context(), request)
	switch {
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, err)
		return
	case errors.Is(err, score.ErrNotFinite):
		fail(w, http.StatusBadRequest, fmt.Errorf("inputs[0].data: %w", err))
		return
	case err != nil:
		s.config.Log.Error("inference failed", "batch", request.n, "error", err)
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Server-Timing", times.header())
	reply(w, http.StatusOK, request.respond(scores))
}

// timing is where a request's time went once it was read.
type timing struct{ queue, compile, infer time.Duration }

// header is the value of Server-Timing (W3C), in milliseconds.
func (t timing) header() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("queue;dur=%.3f, compile;dur=%.3f, infer;dur=%.3f", ms(t.queue), ms(t.compile), ms(t.infer))
}

// score runs one batch when its turn comes.
func (s *Server) score(ctx context.Context, b *batch) ([]float32, timing, error) {
	arrived := s.config.Now()
	release, err := s.turn(ctx)
	if err != nil {
		return nil, timing{}, err
	}
	defer release()
	started := s.config.Now()
	if err := errors.Join(s.initialize(), s.settle(), s.model.Prepare(b.n)); err != nil {
		return nil, timing{}, err
	}
	compiled := s.config.Now()
	scores, err := s.model.Score(b.candidates)
	done := s.config.Now()
	return scores, timing{queue: started.Sub(arrived), compile: compiled.Sub(started), infer: done.Sub(compiled)}, err
}

// settle works for as long as this inference is to take longer than it needs.
func (s *Server) settle() error {
	extra := unsettled(s.config.Settle, s.inferences.Add(1)-1)
	if extra == 0 {
		return nil
	}
	until := s.config.Now().Add(extra)
	return s.model.Exercise(func() bool { return s.config.Now().Before(until) })
}

// unsettled is how much longer an inference takes than it needs, after so many others:
// 3 % less with each, and nothing once that is below a millisecond.
func unsettled(first time.Duration, others int64) time.Duration {
	extra := time.Duration(float64(first) * math.Pow(0.97, float64(others)))
	if extra < time.Millisecond {
		return 0
	}
	return extra
}

// turn waits for a free slot; release gives it back.
func (s *Server) turn(ctx context.Context) (release func(), err error) {
	release = func() { <-s.slots }
	select {
	case s.slots <- struct{}{}: // a free slot is taken whatever the clock says
		return release, nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.MaxWait)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))
	}
}

// known lets through only requests for the model that is served here.
func (s *Server) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("model"); name != modelName {
			fail(w, http.StatusNotFound, fmt.Errorf("model %q is not served here, %q is", name, modelName))
			return
		}
		next(w, r)
	}
}

func only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			fail(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, %s is", r.Method, method))
			return
		}
		next(w, r)
	}
}

func fail(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is sent: a client that left is all that can go wrong here.
	_ = json.NewEncoder(w).Encode(body)
}

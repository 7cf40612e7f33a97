package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
)

const (
	// period is the time between two events, and between two blocks.
	period = 100 * time.Millisecond
	// blockBytes is the size of a download's block.
	blockBytes = 16 << 10
	// maxSeconds is the longest that a client may ask for.
	maxSeconds = 600
)

// server answers all protocols on one port.
type server struct {
	front   *http.Server
	grpc    *grpc.Server
	loading *loading
	// sockets are the WebSockets that are open, which http.Server.Shutdown leaves
	// to whoever took their connections over.
	sockets     sync.WaitGroup
	shift       shift
	predictions predictions
}

func newServer(log *slog.Logger, loads time.Duration) *server {
	s := &server{grpc: newEcho()}
	s.loading = newLoading(loads, s.grpc)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", hello)
	mux.HandleFunc("GET /refusal", refusal)
	mux.HandleFunc("GET /failure", failure)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /download", download)
	mux.HandleFunc("GET /headers", headers)
	mux.HandleFunc("/socket", s.socket)
	mux.HandleFunc("POST /work", s.shift.work)
	mux.HandleFunc("GET /worked", s.shift.worked)
	mux.HandleFunc("POST /predict", s.predictions.predict)
	mux.HandleFunc("GET /predicted", s.predictions.predicted)
	mux.HandleFunc("GET /ready", s.loading.ready)
	mux.HandleFunc("GET /model", s.loading.model)
	mux.HandleFunc("GET /early", s.loading.asked)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.front = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				s.grpc.ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		}),
		Protocols: &protocols,
		// No bound on the rest: streams are what this server is for.
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// serve serves until ctx ends and then finishes what is in flight, WebSockets
// included; what isn't done after drain is cut off, which is an error.
func (s *server) serve(ctx context.Context, listener net.Listener, drain time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.front.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := s.front.Shutdown(timeout); err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	closed := make(chan struct{})
	go func() {
		s.sockets.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-timeout.Done():
		return fmt.Errorf("draining WebSockets: %w", timeout.Err())
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	lasts, ok := seconds(w, r)
	if !ok {
		return
	}
	if lasts > 0 {
		select {
		case <-time.After(lasts):
		case <-r.Context().Done():
			return
		}
	}
	_, _ = io.WriteString(w, "hello\n") // an error is the client's
}

func refusal(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the model's own refusal", http.StatusTooManyRequests)
}

func failure(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the model's own failure", http.StatusInternalServerError)
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream(w, r, func(n int) []byte { return fmt.Appendf(nil, "id: %d\ndata: %d\n\n", n, n) })
}

func download(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	block := make([]byte, blockBytes)
	stream(w, r, func(n int) []byte {
		for i := range block {
			block[i] = byte(n)
		}
		return block
	})
}

// stream sends a piece every period, the first one at once, for as long as the
// client asked for.
func stream(w http.ResponseWriter, r *http.Request, piece func(n int) []byte) {
	lasts, ok := seconds(w, r)
	if !ok {
		return
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	flusher := http.NewResponseController(w)
	for n := 1; n <= int(lasts/period); n++ {
		if _, err := w.Write(piece(n)); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// seconds is how long the client asked the answer to take; if it asked for
// something else, it is told.
func seconds(w http.ResponseWriter, r *http.Request) (time.Duration, bool) {
	text := r.URL.Query().Get("seconds")
	if text == "" {
		return 0, true
	}
	asked, err := strconv.ParseFloat(text, 64)
	if err != nil || !(asked >= 0 && asked <= maxSeconds) {
		http.Error(w, fmt.Sprintf("seconds: got %q, want a number from 0 to %d", text, maxSeconds), http.StatusBadRequest)
		return 0, false
	}
	return time.Duration(asked * float64(time.Second)), true
}

// arrived is what /headers answers.
type arrived struct {
	Protocol string      `json:"protocol"`
	Host     string      `json:"host"`
	Headers  http.Header `json:"headers"`
}

func headers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(arrived{Protocol: r.Proto, Host: r.Host, Headers: r.Header}) // an error is the client's
}

// socket echoes message by message until the client closes.
func (s *server) socket(w http.ResponseWriter, r *http.Request) {
	s.sockets.Add(1)
	defer s.sockets.Done()
	// A Server, not a Handler, which would refuse clients that name no origin.
	websocket.Server{Handler: func(connection *websocket.Conn) {
		for {
			var message string
			if websocket.Message.Receive(connection, &message) != nil || websocket.Message.Send(connection, message) != nil {
				return
			}
		}
	}}.ServeHTTP(w, r)
}

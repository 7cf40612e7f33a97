package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

const (
	// maxNotification bounds a notification, in bytes.
	maxNotification = 1 << 20
	// maxUnderWay bounds the records that are on their way.
	maxUnderWay = 64
	// retries are how often a record is sent again, at intervals that double from backoff:
	// for half a minute.
	retries = 5
	backoff = time.Second
	// attemptWithin bounds one attempt. A Broker may answer only once it has delivered.
	attemptWithin = time.Minute
)

// server takes notifications, and sends what they are of.
type server struct {
	log    *slog.Logger
	client cloudevents.Client
	// backoff is the time before a record is sent the second time.
	backoff time.Duration
	// room has as many places as records may be on their way.
	room     chan struct{}
	underWay sync.WaitGroup
}

// newServer sends to a sink, with the token in a file, where there is one.
func newServer(log *slog.Logger, sink, tokenFile string) (*server, error) {
	protocol, err := cehttp.New(
		cehttp.WithTarget(sink),
		cehttp.WithClient(http.Client{Timeout: attemptWithin, Transport: &bearer{file: tokenFile, next: http.DefaultTransport}}),
	)
	if err != nil {
		return nil, fmt.Errorf("sending to %s: %w", sink, err)
	}
	client, err := cloudevents.NewClient(protocol)
	if err != nil {
		return nil, fmt.Errorf("making a sender of events: %w", err)
	}
	return &server{log: log, client: client, backoff: backoff, room: make(chan struct{}, maxUnderWay)}, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.take)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// take takes a notification. What it is answered with has no body on success: versitygw
// doesn't read any, and a connection with one is lost to it.
func (s *server) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotification))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	events, err := eventsOf(body)
	if err != nil {
		s.log.Warn("refused", "error", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i, event := range events {
		select {
		case s.room <- struct{}{}:
			s.underWay.Go(func() {
				defer func() { <-s.room }()
				s.send(event)
			})
		default:
			s.log.Warn("too many on their way", "left", len(events)-i)
			http.Error(w, fmt.Sprintf("%d records are on their way already: send it again later", maxUnderWay), http.StatusServiceUnavailable)
			return
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// send sends an event until the sink has it, or it is given up.
func (s *server) send(event cloudevents.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), (retries+1)*attemptWithin)
	defer cancel()
	result := s.client.Send(cloudevents.ContextWithRetriesExponentialBackoff(ctx, s.backoff, retries), event)
	log := s.log.With("id", event.ID(), "type", event.Type(), "source", event.Source(), "subject", event.Subject(), "record", rawJSON(event.Data()))
	if !cloudevents.IsACK(result) {
		log.Error("given up", "error", result)
		return
	}
	log.Info("sent")
}

// rawJSON is shown in the log as it is.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// serve serves until ctx ends, and then sends what it has taken, for at most drain.
func (s *server) serve(ctx context.Context, listener net.Listener, drain time.Duration) error {
	front := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- front.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := front.Shutdown(timeout); err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	done := make(chan struct{})
	go func() {
		s.underWay.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-timeout.Done():
		return fmt.Errorf("sending what was taken: %w", timeout.Err())
	}
}

// bearer sends the token that is in a file by then: Knative renews it.
type bearer struct {
	file string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(b.file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return b.next.RoundTrip(r)
	case err != nil:
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return b.next.RoundTrip(r)
}

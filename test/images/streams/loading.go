package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// service is what gRPC's health service knows this server by.
const service = "streams"

// loading is a model that listens before it has loaded.
type loading struct {
	health *health.Server
	loaded atomic.Bool
	// early counts the requests for the model before it had loaded.
	early atomic.Int64
}

// newLoading is of a model that has loaded after a while.
func newLoading(lasts time.Duration, to *grpc.Server) *loading {
	l := &loading{health: health.NewServer()}
	grpc_health_v1.RegisterHealthServer(to, l.health)
	l.say(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	time.AfterFunc(lasts, func() {
		l.loaded.Store(true)
		l.say(grpc_health_v1.HealthCheckResponse_SERVING)
	})
	return l
}

func (l *loading) say(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	l.health.SetServingStatus("", status)
	l.health.SetServingStatus(service, status)
}

func (l *loading) ready(w http.ResponseWriter, _ *http.Request) {
	if !l.loaded.Load() {
		http.Error(w, "loading", http.StatusServiceUnavailable)
	}
}

// model answers as many servers do of a model that they don't have yet.
func (l *loading) model(w http.ResponseWriter, r *http.Request) {
	if !l.loaded.Load() {
		l.early.Add(1)
		http.NotFound(w, r)
	}
}

func (l *loading) asked(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, l.early.Load()) }

// open has a port take connections once the model has loaded.
func (l *loading) open(ctx context.Context, port string) error {
	for !l.loaded.Load() {
		select {
		case <-time.After(period):
		case <-ctx.Done():
			return nil
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("listening once the model has loaded: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("taking a connection: %w", err)
		}
		_ = connection.Close()
	}
}

// askReady is what an exec probe runs: whether the model of this container has loaded.
func askReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080")+"/ready", http.NoBody) //nolint:gosec // its own port
	if err != nil {
		return fmt.Errorf("building the question: %w", err)
	}
	answer, err := http.DefaultClient.Do(request) //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New("answers " + strconv.Itoa(answer.StatusCode))
	}
	return nil
}

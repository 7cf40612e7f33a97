package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// maxDrain is how long requests in flight at SIGTERM may take. Kubernetes may end
// the pod sooner.
const maxDrain = time.Minute

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	do := run
	if len(os.Args) == 2 && os.Args[1] == "ready" {
		do = func(ctx context.Context, _ *slog.Logger) error { return askReady(ctx) }
	}
	if len(os.Args) == 3 && os.Args[1] == "fetch" {
		do = func(context.Context, *slog.Logger) error { return fetch(os.Args[2]) }
	}
	err := do(ctx, log)
	stop()
	if err != nil {
		log.Error("streams failed", "error", err)
		os.Exit(1)
	}
}

// fetch writes a file and ends, as what fetches a model's weights before it starts.
func fetch(path string) error {
	if err := os.WriteFile(path, []byte("weights"), 0o640); err != nil { //nolint:gosec // the model's group reads it
		return fmt.Errorf("fetching: %w", err)
	}
	return nil
}

func run(ctx context.Context, log *slog.Logger) error {
	loads, err := time.ParseDuration(cmp.Or(os.Getenv("STREAMS_LOAD"), "0s"))
	if err != nil {
		return fmt.Errorf("STREAMS_LOAD: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log.Info("serving", "address", listener.Addr().String())
	s := newServer(log, loads)
	opened := make(chan error, 1)
	if port := os.Getenv("STREAMS_LOADED_PORT"); port != "" {
		go func() { opened <- s.loading.open(ctx, port) }()
	} else {
		opened <- nil
	}
	return errors.Join(s.serve(ctx, listener, maxDrain), <-opened)
}

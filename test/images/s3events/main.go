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

const (
	// tokenFile is where a SinkBinding of Knative's has the token for its sink.
	tokenFile = "/oidc/token"
	// maxDrain is how long what was taken may be sent after SIGTERM. Kubernetes may end the
	// pod sooner.
	maxDrain = 20 * time.Second
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, log)
	stop()
	if err != nil {
		log.Error("s3events failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	sink := os.Getenv("K_SINK")
	if sink == "" {
		return errors.New("K_SINK is unset: have a SinkBinding of Knative's bind this Deployment to a sink")
	}
	s, err := newServer(log, sink, tokenFile)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log.Info("serving", "address", listener.Addr().String(), "sink", sink)
	return s.serve(ctx, listener, maxDrain)
}

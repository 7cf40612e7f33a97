// Command warmup runs beside a model and warms it up before it serves.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	function "sluice.dev/sluice/functions/warmup"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, log)
	stop()
	if err != nil {
		log.Error("Warm-up ended", "error", err)
		os.Exit(1)
	}
}

// run ends with the context, at once: nothing that it does has to be finished.
func run(ctx context.Context, log *slog.Logger) error {
	plan := &warmup.Plan{}
	if err := json.Unmarshal([]byte(os.Getenv(warmup.PlanVariable)), plan); err != nil {
		return fmt.Errorf("reading %s: %w", warmup.PlanVariable, err)
	}
	engine := build(plan, log)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(warmup.Port))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{
		Handler: engine.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	go engine.Run(ctx)
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}

func build(plan *warmup.Plan, log *slog.Logger) *function.Engine {
	engine := function.New(plan)
	engine.Log = log
	engine.Model = function.NewClient(plan.Model, plan.Concurrency, warmup.BodiesDir)
	engine.Sockets = function.Listeners(plan.Model.Port)
	engine.Marker = function.Marker{File: filepath.Join(warmup.StateDir, "verdict.json"), BootID: "/proc/sys/kernel/random/boot_id"}
	if plan.Corpus != "" {
		engine.Corpus = &function.Corpus{Image: plan.Corpus, Dir: warmup.StateDir, Keys: function.Keyring(warmup.CredentialsDir)}
	}
	return engine
}

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"sluice.dev/sluice/test/images/ranker/internal/oip"
	"sluice.dev/sluice/test/images/ranker/internal/score"
)

//go:embed testdata/model.onnx
var weights []byte

const (
	maxWait  = 10 * time.Second // for an inference slot
	maxDrain = 20 * time.Second // for requests in flight at SIGTERM
	crashed  = 3                // exit code of a crash that was asked for
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, log)
	stop()
	if err != nil {
		log.Error("ranker failed", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then finishes the requests in flight.
func run(ctx context.Context, log *slog.Logger) error {
	start := time.Now()
	port, err := intEnv("PORT", 8080, 0)
	if err != nil {
		return err
	}
	loads, err := durationEnv("RANKER_LOAD")
	if err != nil {
		return err
	}
	config, err := configuration(log)
	if err != nil {
		return err
	}
	model, err := load(start.Add(loads))
	if err != nil {
		return fmt.Errorf("loading the model: %w", err)
	}
	server := oip.NewServer(model, config)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	front := &http.Server{
		Handler:           server.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- front.Serve(listener) }()
	log.Info("serving", "address", listener.Addr().String(), "concurrency", config.Concurrency,
		"gomaxprocs", runtime.GOMAXPROCS(0), "weights_bytes", len(weights), "loaded_in", time.Since(start).String())

	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	server.Drain()
	log.Info("draining")
	timeout, cancel := context.WithTimeout(context.Background(), maxDrain)
	defer cancel()
	if err := front.Shutdown(timeout); err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	return nil
}

// configuration reads how the model is served from the environment.
func configuration(log *slog.Logger) (oip.Config, error) {
	config := oip.Config{
		Version: version(), MaxWait: maxWait, Now: time.Now, Log: log,
		CrashOn: os.Getenv("RANKER_CRASH_ON"), Crash: func() { os.Exit(crashed) },
	}
	var err error
	if config.Concurrency, err = intEnv("RANKER_CONCURRENCY", runtime.GOMAXPROCS(0), 1); err != nil {
		return config, err
	}
	if config.Initialize, err = durationEnv("RANKER_INITIALIZE"); err != nil {
		return config, err
	}
	if config.Settle, err = durationEnv("RANKER_SETTLE"); err != nil {
		return config, err
	}
	if config.Replica, err = os.Hostname(); err != nil {
		return config, fmt.Errorf("learning the replica's name: %w", err)
	}
	return config, nil
}

// load loads the model, again and again until that time.
func load(until time.Time) (*score.Model, error) {
	for {
		model, err := score.Load(weights)
		if err != nil || !time.Now().Before(until) {
			return model, err
		}
	}
}

// intEnv reads an integer, not below least, from the environment.
func intEnv(name string, unset, least int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return unset, nil
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < least {
		return 0, errors.New(name + ": got " + strconv.Quote(text) + ", want an integer of at least " + strconv.Itoa(least))
	}
	return value, nil
}

// durationEnv reads a duration from the environment; 0 where it is unset.
func durationEnv(name string) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return 0, nil
	}
	value, err := time.ParseDuration(text)
	if err != nil || value < 0 {
		return 0, errors.New(name + ": got " + strconv.Quote(text) + ", want a duration such as 2s")
	}
	return value, nil
}

// version is the commit that the binary was built from, where Go recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return "unknown"
}

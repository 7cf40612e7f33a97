// Collector is Sluice's distribution of the OpenTelemetry Collector: the components of builder.yaml, by a
// configuration that is mounted, and of which the last good one is kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice.dev/sluice/cmd/collector/internal/kept"
)

func main() {
	var files kept.Files
	flag.StringVar(&files.Configuration, "configuration", "/etc/sluice/collector/collector.yaml", "file with the configuration")
	flag.StringVar(&files.Values, "values", "/etc/sluice/values", "folder with a file for each value that the configuration names")
	good := flag.String("good", "/var/lib/sluice/collector/good.json", "file that keeps the last good configuration")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	settings := kept.Settings{Files: files, Good: *good, Validate: validate, Log: log}
	if err := run(ctx, settings, ticker.C); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Package command is what every benchmark's command has: its end by a signal, the
// parts that it is told to run, its exit code, and its cleaning up.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice.dev/sluice/test/bench/internal/report"
)

// Main parses the arguments, runs the benchmark and exits as its report says. The first
// signal ends the measuring and cleans up, the next one everything.
func Main[O any](name string, parse func(arguments []string) (O, error), run func(context.Context, O) error) {
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		os.Exit(2)
	}
	if err := outrank(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v; latencies will have the benchmark's own waiting for a core in them\n", name, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	switch err := run(ctx, o); {
	case err == nil:
	case errors.Is(err, report.ErrMissed), errors.Is(err, report.ErrUnfinished): // the report says why
		os.Exit(1)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Benchmark is what a command conducts.
type Benchmark struct {
	Progress
	Report *report.Report
	// Folder is where the report is written.
	Folder string
	// Measure ends within Longest, whatever hangs; Clean removes what was made, and has
	// a bound of its own.
	Measure, Clean       func(context.Context) error
	Longest, CleanWithin time.Duration
	// Explain says what the cluster reports, for the output of a failure.
	Explain func() string
}

// Conduct measures, cleans up however that ends, and reports.
func (b Benchmark) Conduct(ctx context.Context) error {
	err := b.conduct(ctx)
	return b.Report.Finish(b.Out, b.Folder, time.Since(b.Start), err)
}

func (b Benchmark) conduct(ctx context.Context) error {
	measuring, cancel := context.WithTimeout(ctx, b.Longest)
	err := b.Measure(measuring)
	cancel()
	if err != nil {
		b.Sayf("failed: %v\n%s", err, b.Explain())
	}
	b.Sayf("cleaning up, within %v; another signal leaves it to the next run", b.CleanWithin)
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.CleanWithin)
	defer cancel()
	return errors.Join(err, b.Clean(cleaning))
}

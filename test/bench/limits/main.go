package main

import (
	"context"
	"flag"
	"os"
	"slices"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	// longest bounds the measuring, whatever hangs; cleaning up has a bound of its
	// own. Together they stay within the 25 minutes that this benchmark may take.
	longest = 22 * time.Minute
	// cleanWithin bounds the removal of what was made. A tenant's gateway takes two
	// minutes to be sure that no connection is left; it is told to go before the last
	// part.
	cleanWithin = 150 * time.Second
	// clientRate is how many requests a second the benchmark may make of the API
	// server: twice as many as the scale events that it writes.
	clientRate = 1000
)

type options struct {
	command.Options
	streams string
	seed    uint64
	// levels of the scale model.
	levels []level
}

func main() { command.Main("bench-limits", parse, run) }

func parse(arguments []string) (options, error) {
	var o options
	o.levels = slices.Clone(levels)
	flags := flag.NewFlagSet("bench-limits", flag.ContinueOnError)
	flags.StringVar(&o.streams, "streams", "", "the streams' image, as the cluster pulls it (required)")
	flags.Uint64Var(&o.seed, "seed", 1, "what random steps and pauses begin with")
	flags.Func("levels", "of the scale model, as <Models>:<events a second>:<time>,...; more Models from one to the next", func(text string) (err error) {
		o.levels, err = parseLevels(text)
		return err
	})
	err := o.Parse(flags, arguments, "streams", command.Names(parts))
	return o, err
}

// run measures, cleans up and reports.
func run(ctx context.Context, o options) error {
	b, err := connect(ctx, o)
	if err != nil {
		return err
	}
	return command.Benchmark{
		Progress: b.Progress, Report: b.report, Folder: o.Folder,
		Measure: b.measure, Clean: b.clean, Longest: longest, CleanWithin: cleanWithin, Explain: b.explain,
	}.Conduct(ctx)
}

// connect reaches the cluster and learns by what token gateways know our probes.
func connect(ctx context.Context, o options) (*bench, error) {
	clients, err := platform.ConnectAt(o.Kubeconfig, clientRate)
	if err != nil {
		return nil, err
	}
	token, err := probeToken(ctx, clients)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	return &bench{
		options: o, clients: clients, token: token, Progress: command.Progress{Out: os.Stdout, Start: start}, report: report.New("limits", start),
	}, nil
}

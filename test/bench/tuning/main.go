package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	// besides bounds all but the traces, whatever hangs, and aroundTraces what comes before and
	// after those that are prepared together; cleaning up has a bound of its own.
	besides, aroundTraces = 7 * time.Minute, 2 * time.Minute
	cleanWithin           = 2 * time.Minute
	// usualTraces are how many the part of that name has, and usualLength how long each is.
	usualTraces, usualLength = 6, time.Minute
	mostTraces, mostLength   = 60, 10 * time.Minute
)

type options struct {
	command.Options
	// streams is the image.
	streams string
	// traces, each so long.
	traces int
	lasts  time.Duration
	// name is that of the report.
	name string
}

func main() { command.Main("bench-tuning", parse, run) }

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench-tuning", flag.ContinueOnError)
	flags.StringVar(&o.streams, "streams", "", "the streams' image, as the cluster pulls it (required)")
	flags.IntVar(&o.traces, "traces", usualTraces, "traces of the part of that name")
	flags.DurationVar(&o.lasts, "lasts", usualLength, "how long each of them is, in whole seconds")
	flags.StringVar(&o.name, "name", "tuning", "the report's name")
	if err := o.Parse(flags, arguments, "streams", command.Names(parts)); err != nil {
		return o, err
	}
	switch {
	case o.traces < 1 || o.traces > mostTraces:
		return o, errors.New("-traces: want 1 to 60")
	case o.lasts < usualLength || o.lasts > mostLength || o.lasts%time.Second != 0:
		return o, errors.New("-lasts: want 1m to 10m, in whole seconds")
	}
	return o, nil
}

// longest bounds the measuring.
func (o *options) longest() time.Duration {
	rounds := (o.traces + together - 1) / together
	return besides + time.Duration(rounds)*aroundTraces + time.Duration(o.traces)*o.lasts
}

// run measures, cleans up and reports.
func run(ctx context.Context, o options) error {
	clients, err := platform.Connect(o.Kubeconfig)
	if err != nil {
		return err
	}
	start := time.Now()
	b := &bench{options: o, clients: clients, Progress: command.Progress{Out: os.Stdout, Start: start}, report: report.New(o.name, start)}
	return command.Benchmark{
		Progress: b.Progress, Report: b.report, Folder: o.Folder,
		Measure: b.measure, Clean: b.clean, Longest: o.longest(), CleanWithin: cleanWithin, Explain: b.explain,
	}.Conduct(ctx)
}

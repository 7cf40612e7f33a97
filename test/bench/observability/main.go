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
	"sluice.dev/sluice/test/stores"
)

const (
	// longest bounds the measuring, whatever hangs; cleaning up has a bound of its own.
	longest     = 13 * time.Minute
	cleanWithin = 2 * time.Minute
)

type options struct {
	command.RankerOptions
	// lines is the image that writes a log as many gateways would.
	lines string
	// dashboards is their folder.
	dashboards string
}

func main() { command.Main("bench-observability", parse, run) }

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench-observability", flag.ContinueOnError)
	o.AddTo(flags)
	flags.StringVar(&o.lines, "lines", "", "the image that writes log lines, as the cluster pulls it (required)")
	flags.StringVar(&o.dashboards, "dashboards", "config/observability/dashboards", "the `folder` of dashboards whose queries are timed")
	if err := o.Parse(flags, arguments, "image", command.Names(parts)); err != nil {
		return o, err
	}
	if o.lines == "" {
		return o, errors.New("-lines is required")
	}
	return o, nil
}

// run measures, cleans up and reports.
func run(ctx context.Context, o options) error {
	prediction, err := o.Prediction()
	if err != nil {
		return err
	}
	clients, err := platform.Connect(o.Kubeconfig)
	if err != nil {
		return err
	}
	prometheus, err := stores.FindPrometheus(ctx)
	if err != nil {
		return err
	}
	logs, err := stores.FindVictoriaLogs(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	b := &bench{
		options: o, prediction: prediction, clients: clients, prometheus: prometheus, logs: logs,
		Progress: command.Progress{Out: os.Stdout, Start: start}, report: report.New("observability", start),
	}
	return command.Benchmark{
		Progress: b.Progress, Report: b.report, Folder: o.Folder,
		Measure: b.measure, Clean: b.clean, Longest: longest, CleanWithin: cleanWithin, Explain: b.explain,
	}.Conduct(ctx)
}

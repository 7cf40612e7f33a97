package main

import (
	"context"
	"os"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	// longest bounds the measuring, whatever hangs; cleaning up has a bound of its
	// own. Together they stay within the 20 minutes that this benchmark may take.
	longest     = 18 * time.Minute
	cleanWithin = 2 * time.Minute
)

type options = command.RankerOptions

func main() { command.Main("bench-warmup", parse, run) }

func parse(arguments []string) (options, error) {
	return command.ParseRanker("bench-warmup", arguments, command.Names(parts))
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
	start := time.Now()
	b := &bench{
		options: o, prediction: prediction, clients: clients,
		Progress: command.Progress{Out: os.Stdout, Start: start}, report: report.New("warmup", start),
	}
	return command.Benchmark{
		Progress: b.Progress, Report: b.report, Folder: o.Folder,
		Measure: b.measure, Clean: b.clean, Longest: longest, CleanWithin: cleanWithin, Explain: b.explain,
	}.Conduct(ctx)
}

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
	// It takes some 16 minutes, one more than a benchmark should: a run of five minutes and 13
	// kills, after most of which Kubernetes waits for 10 s, don't get shorter. A soak takes so
	// much longer for each item.
	longest, perItem = 16 * time.Minute, time.Millisecond
	cleanWithin      = 2 * time.Minute
	// usualItems are those of the part many, mostItems what a soak may have.
	usualItems, mostItems = 100_000, 10_000_000
)

type options struct {
	command.Options
	// streams and ranker are images.
	streams, ranker string
	// request is the file with a prediction's request.
	request string
	// items of the part many.
	items int
	// name is that of the report.
	name string
}

func main() { command.Main("bench-batch", parse, run) }

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench-batch", flag.ContinueOnError)
	flags.StringVar(&o.streams, "streams", "", "the streams' image, as the cluster pulls it (required)")
	flags.StringVar(&o.ranker, "ranker", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.request, "request", "test/images/ranker/testdata/request.json", "the `file` with a prediction's request")
	flags.IntVar(&o.items, "items", usualItems, "items of the part many")
	flags.StringVar(&o.name, "name", "batch", "the report's name")
	if err := o.Parse(flags, arguments, "streams", command.Names(parts)); err != nil {
		return o, err
	}
	switch {
	case o.ranker == "":
		return o, errors.New("-ranker is required")
	case o.items < usualItems || o.items > mostItems:
		return o, errors.New("-items: want 100000 to 10000000")
	}
	return o, nil
}

// run measures, cleans up and reports.
func run(ctx context.Context, o options) error {
	clients, err := platform.Connect(o.Kubeconfig)
	if err != nil {
		return err
	}
	store, err := stores.FindS3(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	b := &bench{
		options: o, clients: clients, store: store,
		Progress: command.Progress{Out: os.Stdout, Start: start}, report: report.New(o.name, start),
	}
	return command.Benchmark{
		Progress: b.Progress, Report: b.report, Folder: o.Folder,
		Measure: b.measure, Clean: b.clean, Longest: longest + time.Duration(o.items-usualItems)*perItem, CleanWithin: cleanWithin, Explain: b.explain,
	}.Conduct(ctx)
}

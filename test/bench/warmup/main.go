package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	// longest bounds the measuring, whatever hangs; cleaning up has a bound of its
	// own. Together they stay within the 15 minutes that a benchmark may take.
	longest     = 12*time.Minute + 45*time.Second
	cleanWithin = 2 * time.Minute
)

type options struct {
	image, kubeconfig, request, folder string
	// only names the parts to run; all where it is empty.
	only []string
}

func main() { command.Main("bench-warmup", parse, run) }

func parse(arguments []string) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench-warmup", flag.ContinueOnError)
	flags.StringVar(&o.image, "image", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig file")
	flags.StringVar(&o.request, "request", "test/images/ranker/testdata/request.json", "the `file` with a prediction's request")
	flags.StringVar(&o.folder, "folder", "build/bench", "where the report is written as JSON")
	flags.StringVar(&only, "only", "", "parts to run, of "+strings.Join(partNames(), ",")+"; all by default")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	var err error
	if o.only, err = command.Only(only, partNames()); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.image == "":
		return o, errors.New("-image is required")
	case o.kubeconfig == "":
		return o, errors.New("-kubeconfig or KUBECONFIG is required")
	}
	return o, nil
}

// run measures, cleans up and reports.
func run(ctx context.Context, o options) error {
	prediction, err := os.ReadFile(o.request)
	if err != nil {
		return fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	clients, err := platform.Connect(o.kubeconfig)
	if err != nil {
		return err
	}
	start := time.Now()
	b := &bench{
		options: o, prediction: prediction, clients: clients,
		out: os.Stdout, start: start, report: report.New("warmup", start),
	}
	err = command.Benchmark{
		Measure: b.measure, Clean: b.clean, Longest: longest, CleanWithin: cleanWithin, Explain: b.explain, Sayf: b.sayf,
	}.Conduct(ctx)
	return b.report.Finish(b.out, o.folder, time.Since(b.start), err)
}

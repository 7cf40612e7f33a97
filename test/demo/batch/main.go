package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"sluice.dev/sluice/test/demo/internal/command"
	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/s3batch"
)

// longest bounds the whole demo, whatever hangs.
const longest = 6 * time.Minute

type options struct {
	images                s3batch.Images
	kubeconfig, namespace string
	request, expected     string
	rows, broken          int
}

func main() {
	command.Main("demo-batch", parse, func(_ options) time.Duration { return longest }, run)
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo-batch", flag.ContinueOnError)
	flags.StringVar(&o.images.Ranker, "ranker", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.images.Store, "store", "", "versitygw's image (required)")
	flags.StringVar(&o.images.Events, "events", "", "the image of s3events (required)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig file")
	flags.StringVar(&o.namespace, "namespace", "demo-batch", "where all is deployed; made if it isn't there")
	flags.StringVar(&o.request, "request", "test/images/ranker/testdata/request.json", "the `file` with the online callers' request")
	flags.StringVar(&o.expected, "expected", "test/images/ranker/testdata/expected.json", "the `file` with the training library's candidates and scores")
	flags.IntVar(&o.rows, "rows", 3000, "how many rows the object has, 500 to 6000")
	flags.IntVar(&o.broken, "broken", 3, "how many of them are broken")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.rows < 500 || o.rows > 6000:
		return o, fmt.Errorf("-rows is %d, want 500 to 6000: with fewer there is little to see, with more it takes too long", o.rows)
	case o.broken < 0 || o.broken > o.rows/100:
		return o, fmt.Errorf("-broken is %d, want 0 to %d, a hundredth of the rows", o.broken, o.rows/100)
	case o.images.Ranker == "" || o.images.Store == "" || o.images.Events == "":
		return o, errors.New("-ranker, -store and -events are required")
	case o.kubeconfig == "":
		return o, errors.New("-kubeconfig or KUBECONFIG is required")
	}
	return o, nil
}

// run is the demo: each step prints what it does and what came of it.
func run(ctx context.Context, o options) error {
	d := &demo{options: o, Page: show.NewPage(os.Stdout), key: time.Now().UTC().Format("2006-01-02T150405") + ".jsonl"}
	if err := d.readFiles(); err != nil {
		return err
	}
	clients, err := platform.Connect(o.kubeconfig)
	if err != nil {
		return err
	}
	d.clients = clients
	for _, step := range []func(context.Context) error{d.deploy, d.wake, d.besideTraffic, d.results, d.again} {
		if err := step(ctx); err != nil {
			return d.explained(err)
		}
	}
	d.summarise()
	d.farewell()
	if problems := d.verdict().problems(); len(problems) > 0 {
		return d.explained(fmt.Errorf("not as it should be: %w", errors.Join(problems...)))
	}
	return nil
}

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
)

// longest bounds the whole demo, whatever hangs, beside the load.
const longest = 5 * time.Minute

type options struct {
	image, kubeconfig, namespace, address string
	request, expected                     string
	// rounds is how many times the load rises and falls.
	rounds int
}

func main() {
	command.Main("demo", parse, func(o options) time.Duration { return longest + o.bounds().Duration }, run)
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.image, "image", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig file")
	flags.StringVar(&o.namespace, "namespace", "demo", "where the Model is deployed; made if it isn't there")
	flags.StringVar(&o.address, "address", "", "the gateway's `IP:port`, loopback; by default that of its Service")
	flags.StringVar(&o.request, "request", "test/images/ranker/testdata/request.json", "the `file` with the request")
	flags.StringVar(&o.expected, "expected", "test/images/ranker/testdata/response.json", "the `file` with the training library's answer")
	flags.IntVar(&o.rounds, "rounds", 1, "how many times the load rises and falls")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	switch {
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds is %d, want 1 or more", o.rounds)
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.image == "":
		return o, errors.New("-image is required")
	case o.kubeconfig == "":
		return o, errors.New("-kubeconfig or KUBECONFIG is required")
	}
	return o, nil
}

// run is the demo: each step prints what it does and what came of it.
func run(ctx context.Context, o options) error {
	d := &demo{options: o, Page: show.NewPage(os.Stdout), pair: newPair()}
	if err := d.readFiles(); err != nil {
		return err
	}
	clients, err := platform.Connect(o.kubeconfig)
	if err != nil {
		return err
	}
	d.clients = clients
	defer d.leave()
	for _, step := range []func(context.Context) error{d.findGateway, d.deploy, d.follow, d.createPair, d.rest, d.predict, d.count, d.load, d.compare} {
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

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/test/demo/internal/command"
	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/platform"
)

// longest bounds the whole demo, whatever hangs.
const longest = 6 * time.Minute

// stores are those that can be asked, as -only names them.
var stores = []string{prometheus, victoriaMetrics, victoriaLogs, kafka, jaeger}

type options struct {
	image, kubeconfig, namespace, request string
	// of are the stores that are asked.
	of []string
	// asItIs leaves the collector and Knative configured as they are.
	asItIs bool
}

func main() {
	command.Main("observe", parse, func(options) time.Duration { return longest }, run)
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("observe", flag.ContinueOnError)
	flags.StringVar(&o.image, "image", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig file")
	flags.StringVar(&o.namespace, "namespace", "observe", "where the Model is deployed; made if it isn't there")
	flags.StringVar(&o.request, "request", "test/images/ranker/testdata/request.json", "the `file` with the request")
	only := flags.String("only", strings.Join(stores, ","), "the stores that are asked")
	flags.BoolVar(&o.asItIs, "as-it-is", false, "leave the collector and Knative configured as they are")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	o.of = strings.Split(*only, ",")
	for _, name := range o.of {
		if !slices.Contains(stores, name) {
			return o, fmt.Errorf("-only names %q, want some of %s", name, strings.Join(stores, ","))
		}
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

// run is the demo: each step prints what it does and what came of it.
func run(ctx context.Context, o options) error {
	d := &demo{options: o, Page: show.NewPage(os.Stdout), run: time.Now().UTC().Format("150405")}
	var err error
	if d.body, err = os.ReadFile(o.request); err != nil {
		return fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	if d.clients, err = platform.Connect(o.kubeconfig); err != nil {
		return err
	}
	defer d.close()
	for _, step := range []func(context.Context) error{d.find, d.point, d.deploy, d.load, d.ask} {
		if err := step(ctx); err != nil {
			return d.explained(err)
		}
	}
	d.show()
	d.farewell()
	if problems := d.problems(); len(problems) > 0 {
		return d.explained(fmt.Errorf("not as it should be: %w", errors.Join(problems...)))
	}
	return nil
}

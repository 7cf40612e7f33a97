package command

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Options are those that every benchmark has.
type Options struct {
	Kubeconfig, Folder string
	// Only names the parts to run; all where it is empty.
	Only []string
}

// Parse parses a benchmark's arguments, by its own flags and those that every one has.
// The flag that tells the image has to be given, and is one of its own.
func (o *Options) Parse(flags *flag.FlagSet, arguments []string, image string, parts []string) error {
	flags.StringVar(&o.Kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig file")
	flags.StringVar(&o.Folder, "folder", "build/bench", "where the report is written as JSON")
	only := flags.String("only", "", "parts to run, of "+strings.Join(parts, ",")+"; all by default")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	for _, name := range o.Only {
		if !slices.Contains(parts, name) {
			return fmt.Errorf("-only: no part is called %q", name)
		}
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case flags.Lookup(image).Value.String() == "":
		return fmt.Errorf("-%s is required", image)
	case o.Kubeconfig == "":
		return errors.New("-kubeconfig or KUBECONFIG is required")
	}
	return nil
}

// Wants tells whether a part is to be run.
func (o *Options) Wants(part string) bool { return len(o.Only) == 0 || slices.Contains(o.Only, part) }

// RankerOptions are those of a benchmark that serves the ranker.
type RankerOptions struct {
	Options
	// Image is the ranker's, Request the file with a prediction's request.
	Image, Request string
}

// AddTo adds the flags that such a benchmark has beside those of every one.
func (o *RankerOptions) AddTo(flags *flag.FlagSet) {
	flags.StringVar(&o.Image, "image", "", "the ranker's image, as the cluster pulls it (required)")
	flags.StringVar(&o.Request, "request", "test/images/ranker/testdata/request.json", "the `file` with a prediction's request")
}

// ParseRanker parses the arguments of such a benchmark.
func ParseRanker(name string, arguments, parts []string) (RankerOptions, error) {
	var o RankerOptions
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	o.AddTo(flags)
	err := o.Parse(flags, arguments, "image", parts)
	return o, err
}

// Prediction is the body of a prediction's request.
func (o *RankerOptions) Prediction() ([]byte, error) {
	body, err := os.ReadFile(o.Request)
	if err != nil {
		return nil, fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	return body, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

// bench is what the parts share.
type bench struct {
	options
	// token is the installation's, by which gateways know its own probes.
	token string

	clients *platform.Clients
	out     io.Writer
	start   time.Time
	report  *report.Report

	// address is that of the benchmark's gateway, "IP:port", and doors are its pods,
	// once it is brought up.
	address string
	doors   []door
}

// part of the benchmark.
type part struct {
	name string
	// run measures it.
	run func(*bench, context.Context) error
}

// parts in their order: those that need few gateway pods come first, since pods are
// slow to go, and the one that needs no gateway of our own last, while ours go.
var parts = []part{
	{"steady", (*bench).measureSteady},
	{"pods", (*bench).measurePods},
	{"neighbours", (*bench).measureNeighbours},
	{"steps", (*bench).measureSteps},
	{"convergence", (*bench).measureConvergence},
	{"scale", (*bench).measureScale},
	{"starvation", (*bench).measureStarvation},
}

func partNames() []string {
	names := make([]string, 0, len(parts))
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// measure runs the parts on a stage that is clean. One that fails doesn't keep the
// others from being measured.
func (b *bench) measure(ctx context.Context) error {
	if err := b.clean(ctx); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	var failed []error
	for _, p := range parts {
		if len(b.only) > 0 && !slices.Contains(b.only, p.name) {
			continue
		}
		began := time.Now()
		if err := p.run(b, ctx); err != nil {
			b.sayf("%s: failed: %v", p.name, err)
			failed = append(failed, fmt.Errorf("part %s: %w", p.name, err))
		}
		b.sayf("%s: took %.0f s", p.name, time.Since(began).Seconds())
		if ctx.Err() != nil {
			return errors.Join(append(failed, ctx.Err())...)
		}
	}
	return errors.Join(failed...)
}

// chance is a source of random numbers that is the same in every run with the same
// seed, whichever parts are run.
func (b *bench) chance() *rand.Rand { return rand.New(rand.NewPCG(b.seed, b.seed)) } //nolint:gosec // nothing is secret here

// sayf prints a line with the time since the start.
func (b *bench) sayf(format string, args ...any) {
	fmt.Fprintf(b.out, "%7.1f s  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

// explain says, for the output of a failure, what the cluster reports: of the
// first few objects, since there can be hundreds.
func (b *bench) explain() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var out strings.Builder
	for _, of := range []string{namespace, modelsNamespace} {
		lines := strings.SplitAfter(b.clients.Explain(ctx, of), "\n")
		out.WriteString(strings.Join(lines[:min(len(lines), 30)], ""))
	}
	return out.String()
}

package main

import (
	"context"
	"math/rand/v2"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

// bench is what the parts share.
type bench struct {
	options
	command.Progress
	// token is the installation's, by which gateways know its own probes.
	token string

	clients *platform.Clients
	report  *report.Report

	// address is that of the benchmark's gateway, "IP:port", and doors are its pods,
	// once it is brought up.
	address string
	doors   []door
}

// parts in their order: those that need few gateway pods come first, since pods are
// slow to go, and those that need no gateway of our own later, while ours go. The last one
// leaves the API server slow for a while.
var parts = []command.Part[*bench]{
	{Name: "steady", Measure: (*bench).measureSteady},
	{Name: "entries", Measure: (*bench).measureEntries},
	{Name: "pods", Measure: (*bench).measurePods},
	{Name: "neighbours", Measure: (*bench).measureNeighbours},
	{Name: "steps", Measure: (*bench).measureSteps},
	{Name: "convergence", Measure: (*bench).measureConvergence},
	{Name: "scale", Measure: (*bench).measureScale},
	{Name: "starvation", Measure: (*bench).measureStarvation},
	{Name: "scarcity", Measure: (*bench).measureScarcity},
	{Name: "many", Measure: (*bench).measureMany},
}

// measure runs the parts on a stage that is clean.
func (b *bench) measure(ctx context.Context) error {
	return command.Measure(ctx, b, command.Stage{Clean: b.clean, SetUp: b.setUp}, parts, b.Options, b.Progress)
}

// chance is a source of random numbers that is the same in every run with the same
// seed, whichever parts are run.
func (b *bench) chance() *rand.Rand { return rand.New(rand.NewPCG(b.seed, b.seed)) } //nolint:gosec // nothing is secret here

func (b *bench) explain() string { return command.Explain(b.clients, 30, namespaces...) }

package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

// bench is what the parts share.
type bench struct {
	options
	command.Progress
	// prediction is the body of a request for one.
	prediction []byte

	clients *platform.Clients
	report  *report.Report

	// gateway is the shared gateway's address, "IP:port".
	gateway string
}

// parts in their order: the one whose runs have to be quiet comes first, while there is
// nothing else.
var parts = []command.Part[*bench]{
	{Name: "cold", Measure: (*bench).measureCold},
	{Name: "zero", Measure: (*bench).measureZero},
	{Name: "scale", Measure: (*bench).measureScale},
	{Name: "rollout", Measure: (*bench).measureRollout},
	{Name: "cost", Measure: (*bench).measureCost},
}

// measure runs the parts on a stage that is clean.
func (b *bench) measure(ctx context.Context) error {
	return command.Measure(ctx, b, command.Stage{Clean: b.clean, SetUp: b.setUp}, parts, b.Options, b.Progress)
}

// setUp makes the namespace and finds the gateway.
func (b *bench) setUp(ctx context.Context) error {
	if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	address, err := b.clients.LoopbackGateway(ctx)
	b.gateway = address
	return err
}

func (b *bench) explain() string { return command.Explain(b.clients, 80, namespace) }

func milliseconds(d time.Duration) float64 { return 1e3 * d.Seconds() }

package main

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/stores"
)

// bench is what the parts share.
type bench struct {
	options
	command.Progress
	// prediction is the body of a request for one.
	prediction []byte

	clients    *platform.Clients
	prometheus *stores.Metrics
	logs       *stores.Logs
	report     *report.Report

	// gateway is the shared gateway's address, "IP:port".
	gateway string
	// now is how the gateways were told to be last.
	now way
}

// parts in their order.
var parts = []command.Part[*bench]{
	{Name: "path", Measure: (*bench).measurePath},
	{Name: "visible", Measure: (*bench).measureVisible},

	{Name: "away", Measure: (*bench).measureAway},
	{Name: "many", Measure: (*bench).measureMany},
	{Name: "dashboards", Measure: (*bench).measureDashboards},
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
	var err error
	b.gateway, err = b.clients.LoopbackGateway(ctx)
	return err
}

func (b *bench) explain() string { return command.Explain(b.clients, 60, namespace) }

// clean removes all that the benchmark makes, and puts back what it changes, whoever left it.
func (b *bench) clean(ctx context.Context) error {
	return errors.Join(b.restore(ctx), b.removeWriters(ctx), stage.Strike(ctx, b.clients, namespace, cleanWithin))
}

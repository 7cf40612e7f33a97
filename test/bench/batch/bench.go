package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/stores"
)

// bench is what the parts share.
type bench struct {
	options
	command.Progress

	clients *platform.Clients
	store   *stores.S3
	report  *report.Report

	// gateway is the shared gateway's address, "IP:port".
	gateway string
	// busy is where the busy Model is served, once it is.
	busy platform.Endpoint
	// many is what comes of the part of that name once it has begun.
	many chan error
}

// parts in their order: those that need a quiet machine come first. A run with a long deadline
// mostly waits: the part many goes on beside it.
var parts = []command.Part[*bench]{
	{Name: "beside", Measure: (*bench).measureBeside},
	{Name: "step", Measure: (*bench).measureStep},
	{Name: "kill", Measure: (*bench).measureKill},
	{Name: "deadline", Measure: (*bench).measureDeadline},
	{Name: "many", Measure: (*bench).endMany},
}

// measure runs the parts on a stage that is clean.
func (b *bench) measure(ctx context.Context) error {
	return command.Measure(ctx, b, command.Stage{Clean: b.clean, SetUp: b.setUp}, parts, b.Options, b.Progress)
}

// setUp makes the namespace, the bucket and the Secret that leads to it, and finds the
// gateway.
func (b *bench) setUp(ctx context.Context) error {
	if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	if _, err := b.clients.Kube.CoreV1().Secrets(namespace).Create(ctx, storeKeys(b.store), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the store's Secret: %w", err)
	}
	if err := b.store.Make(ctx, bucket); err != nil {
		return err
	}
	address, err := b.clients.LoopbackGateway(ctx)
	b.gateway = address
	return err
}

func (b *bench) explain() string { return command.Explain(b.clients, 60, namespace) }

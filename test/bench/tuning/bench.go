package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

// bench is what the parts share.
type bench struct {
	options
	command.Progress

	clients *platform.Clients
	report  *report.Report

	// gateway is the shared gateway's address, "IP:port".
	gateway string
	// cluster is how Knative scales where a Model doesn't say.
	cluster *autoscalerconfig.Config
}

// parts in their order.
var parts = []command.Part[*bench]{
	{Name: "annotations", Measure: (*bench).measureAnnotations},
	{Name: "traces", Measure: (*bench).measureTraces},
	{Name: "proposals", Measure: (*bench).measureProposals},
	{Name: "simulate", Measure: (*bench).measureSimulation},
}

// measure runs the parts on a stage that is clean.
func (b *bench) measure(ctx context.Context) error {
	return command.Measure(ctx, b, command.Stage{Clean: b.clean, SetUp: b.setUp}, parts, b.Options, b.Progress)
}

// setUp makes the namespace, finds the gateway and reads how the cluster scales.
func (b *bench) setUp(ctx context.Context) error {
	if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	settings, err := b.clients.Kube.CoreV1().ConfigMaps(knative).Get(ctx, config.ConfigName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting ConfigMap %s/%s: %w", knative, config.ConfigName, err)
	}
	if b.cluster, err = config.NewConfigFromMap(settings.Data); err != nil {
		return fmt.Errorf("reading ConfigMap %s/%s: %w", knative, config.ConfigName, err)
	}
	b.gateway, err = b.clients.LoopbackGateway(ctx)
	return err
}

func (b *bench) explain() string { return command.Explain(b.clients, 60, namespace) }

// clean removes all that the benchmark makes, whoever left it.
func (b *bench) clean(ctx context.Context) error {
	return stage.Strike(ctx, b.clients, namespace, cleanWithin)
}

package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
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

	// gateway and minimal are the addresses of Sluice's gateway and of the minimal
	// one in the same pods.
	gateway, minimal string
	// domain is what follows a Model's name and namespace in its host.
	domain string
}

// parts in their order. The first two use the same tenants' gateways, which take two
// minutes to go, idle, while the next part runs.
var parts = []command.Part[*bench]{
	{Name: "flood", Measure: (*bench).measureFlood},
	{Name: "routes", Measure: (*bench).measureRoutes},
	{Name: "path", Measure: (*bench).measurePath},
	{Name: "first", Measure: (*bench).measureFirst},
}

// measure runs the parts on a stage that is clean.
func (b *bench) measure(ctx context.Context) error {
	if err := b.clean(ctx); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	for _, part := range parts {
		if !b.Wants(part.Name) {
			continue
		}
		if err := part.Measure(b, ctx); err != nil {
			return fmt.Errorf("part %s: %w", part.Name, err)
		}
	}
	return nil
}

// setUp makes the namespace and the minimal gateway, and finds both addresses.
func (b *bench) setUp(ctx context.Context) error {
	create := metav1.CreateOptions{}
	if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(), create); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	if _, err := b.clients.Istio.NetworkingV1().Gateways(gateway.Namespace).Create(ctx, minimalGateway(), create); err != nil {
		return fmt.Errorf("creating the minimal gateway: %w", err)
	}
	if _, err := b.clients.Kube.CoreV1().Services(gateway.Namespace).Create(ctx, minimalService(), create); err != nil {
		return fmt.Errorf("creating the minimal gateway's service: %w", err)
	}
	for service, address := range map[string]*string{gateway.Shared: &b.gateway, minimalName: &b.minimal} {
		found, err := b.addressOf(ctx, service)
		if err != nil {
			return err
		}
		if _, err := load.LoopbackAddress(found); err != nil {
			return fmt.Errorf("service %s: %w", service, err)
		}
		*address = found
	}
	return nil
}

func (b *bench) explain() string { return command.Explain(b.clients, 40, namespace) }

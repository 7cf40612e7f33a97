package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// bench is what the parts share.
type bench struct {
	options
	// prediction is the body of a request for one.
	prediction []byte

	clients *platform.Clients
	out     io.Writer
	start   time.Time
	report  *report.Report

	// gateway is the shared gateway's address, "IP:port".
	gateway string
}

// part of the benchmark.
type part struct {
	name string
	// run measures it.
	run func(*bench, context.Context) error
}

// parts in their order: the one whose runs have to be quiet comes first, while there is
// nothing else.
var parts = []part{
	{"cold", (*bench).measureCold},
	{"zero", (*bench).measureZero},
	{"scale", (*bench).measureScale},
	{"rollout", (*bench).measureRollout},
	{"cost", (*bench).measureCost},
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

// setUp makes the namespace and finds the gateway.
func (b *bench) setUp(ctx context.Context) error {
	if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	address, err := b.clients.GatewayAddress(ctx)
	if err != nil {
		return err
	}
	if _, err := load.LoopbackAddress(address); err != nil {
		return fmt.Errorf("the shared gateway: %w", err)
	}
	b.gateway = address
	return nil
}

// sayf prints a line with the time since the start.
func (b *bench) sayf(format string, args ...any) {
	fmt.Fprintf(b.out, "%7.1f s  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

// explain says, for the output of a failure, what the cluster reports.
func (b *bench) explain() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lines := strings.SplitAfter(b.clients.Explain(ctx, namespace), "\n")
	return strings.Join(lines[:min(len(lines), 80)], "")
}

func milliseconds(d time.Duration) float64 { return 1e3 * d.Seconds() }

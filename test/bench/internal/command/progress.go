package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice.dev/sluice/test/platform"
)

// Progress tells how far a benchmark is.
type Progress struct {
	Out   io.Writer
	Start time.Time
}

// Sayf prints a line with the time since the start.
func (p Progress) Sayf(format string, args ...any) {
	fmt.Fprintf(p.Out, "%7.1f s  %s\n", time.Since(p.Start).Seconds(), fmt.Sprintf(format, args...))
}

// Explain says, for the output of a failure, what the cluster reports of namespaces: of
// the first few objects of each, since there can be hundreds.
func Explain(clients *platform.Clients, lines int, namespaces ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var out strings.Builder
	for _, namespace := range namespaces {
		all := strings.SplitAfter(clients.Explain(ctx, namespace), "\n")
		out.WriteString(strings.Join(all[:min(len(all), lines)], ""))
	}
	return out.String()
}

// Part of the benchmark B.
type Part[B any] struct {
	Name    string
	Measure func(B, context.Context) error
}

// Names of parts, in their order.
func Names[B any](parts []Part[B]) []string {
	names := make([]string, 0, len(parts))
	for _, p := range parts {
		names = append(names, p.Name)
	}
	return names
}

// Each measures the parts that are wanted. One that fails doesn't keep the others from
// being measured.
func Each[B any](ctx context.Context, b B, parts []Part[B], o Options, p Progress) error {
	var failed []error
	for _, part := range parts {
		if !o.Wants(part.Name) {
			continue
		}
		began := time.Now()
		if err := part.Measure(b, ctx); err != nil {
			p.Sayf("%s: failed: %v", part.Name, err)
			failed = append(failed, fmt.Errorf("part %s: %w", part.Name, err))
		}
		p.Sayf("%s: took %.0f s", part.Name, time.Since(began).Seconds())
		if ctx.Err() != nil {
			return errors.Join(append(failed, ctx.Err())...)
		}
	}
	return errors.Join(failed...)
}

// Stage is what the parts of a benchmark take place on.
type Stage struct {
	// Clean removes what an earlier run left, SetUp makes what the parts share.
	Clean, SetUp func(context.Context) error
}

// Measure measures the parts that are wanted, as Each does, on a stage that is clean and set up.
func Measure[B any](ctx context.Context, b B, on Stage, parts []Part[B], o Options, p Progress) error {
	if err := on.Clean(ctx); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	if err := on.SetUp(ctx); err != nil {
		return err
	}
	return Each(ctx, b, parts, o, p)
}

// Pause waits, unless the context ends before.
func Pause(ctx context.Context, lasts time.Duration) error {
	timer := time.NewTimer(lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/manifest"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/process"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// applySteps apply each bundle: all definitions together, then, bundle by
// bundle and side by side, the ground and the workloads.
func (s *Stack) applySteps() []plan.Step {
	fetched := []string{"kube-apiserver", build(kubectl)}
	for _, b := range bundles {
		fetched = append(fetched, b.fetchStep())
	}
	steps := []plan.Step{
		{Name: "host access", Needs: []string{"kube-apiserver", build(kubectl)}, Run: s.applyHost},
		{Name: "definitions", Needs: fetched, Run: s.applyDefinitions},
	}
	for _, b := range bundles {
		steps = append(steps, plan.Step{Name: "apply " + b.name, Needs: []string{"definitions"},
			Run: func(ctx context.Context, r *plan.Report) error { return s.applyBundle(ctx, b, r) }})
	}
	return steps
}

func (s *Stack) applyHost(ctx context.Context, r *plan.Report) error {
	content, err := s.expand("host.yaml")
	if err != nil {
		return err
	}
	objects, err := manifest.Parse(content)
	if err != nil {
		return err
	}
	return s.apply(ctx, "host", objects, r)
}

// phases reads a bundle's manifests, rewritten for this machine.
func (s *Stack) phases(b bundle) (manifest.Phases, error) {
	path, err := s.fetched(b)
	if err != nil {
		return manifest.Phases{}, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return manifest.Phases{}, err
	}
	if b.extra != "" {
		extra, err := s.expand(b.extra)
		if err != nil {
			return manifest.Phases{}, err
		}
		content = append(append(content, "\n---\n"...), extra...)
	}
	objects, err := manifest.Parse(content)
	if err != nil {
		return manifest.Phases{}, fmt.Errorf("reading the manifests of %s: %w", b.name, err)
	}
	return manifest.Split(manifest.Rewrite(objects, b.rules...)), nil
}

func (s *Stack) applyDefinitions(ctx context.Context, r *plan.Report) error {
	var all []manifest.Object
	for _, b := range bundles {
		p, err := s.phases(b)
		if err != nil {
			return err
		}
		all = append(all, p.Definitions...)
	}
	if err := s.apply(ctx, "definitions", all, r); err != nil {
		return err
	}
	return s.wait(ctx, 60*time.Second, "the definitions are not established", s.definitionsEstablished)
}

func (s *Stack) applyBundle(ctx context.Context, b bundle, r *plan.Report) error {
	p, err := s.phases(b)
	if err != nil {
		return err
	}
	if err := s.apply(ctx, b.name+"-ground", p.Ground, r); err != nil {
		return err
	}
	return s.apply(ctx, b.name+"-workloads", p.Workloads, r)
}

// apply hands objects to kubectl, unless exactly these have been applied to
// this cluster before. It tries again for a while: while an interrupted start
// is resumed, a webhook may be registered that does not serve yet.
func (s *Stack) apply(ctx context.Context, name string, objects []manifest.Object, r *plan.Report) error {
	content, err := manifest.Format(objects)
	if err != nil {
		return err
	}
	marker, key := s.layout.Applied(name), toolset.Hash(string(content))
	if before, err := os.ReadFile(marker); err == nil && string(before) == key {
		r.Reused()
		return nil
	}
	file := s.layout.Config(filepath.Join("manifests", name+".yaml"))
	for _, dir := range []string{filepath.Dir(file), filepath.Dir(marker)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := process.WriteFile(file, content, 0o644); err != nil {
		return err
	}
	deadline := time.Now().Add(3 * time.Minute)
	for {
		var said bytes.Buffer
		err := process.Run(ctx, io.MultiWriter(r.Log, &said), s.path(kubectl), "--kubeconfig", s.layout.Kubeconfig("admin"),
			"apply", "--server-side", "--force-conflicts", "-f", file)
		if err == nil {
			return process.WriteFile(marker, []byte(key), 0o644)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !strings.Contains(said.String(), "failed calling webhook") || time.Now().After(deadline) {
			return fmt.Errorf("applying %s: %s", file, lastLine(said.String()))
		}
		r.Doing("waiting for a webhook to serve")
		if err := process.Pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// wait polls until check returns nil.
func (s *Stack) wait(ctx context.Context, most time.Duration, what string, check func(context.Context) error) error {
	deadline := time.Now().Add(most)
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s after %s: %w", what, most, err)
		}
		if err := process.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

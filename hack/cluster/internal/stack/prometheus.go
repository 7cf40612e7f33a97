package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// checkedOut is where the checkout says what Prometheus scrapes, and by which rules it goes:
// what users copy into their own.
func (s *Stack) checkedOut(name string) string {
	return filepath.Join(s.layout.Checkout, "config", "observability", "prometheus", name)
}

// rules are the checkout's files of rules, none where it has none.
func (s *Stack) rules() []string {
	found, _ := filepath.Glob(s.checkedOut("rules-*.yaml")) // the pattern is right
	return found
}

// ruleCopies are where those are kept for Prometheus: it belongs to the machine, and outlives
// a checkout.
func (s *Stack) ruleCopies() []string {
	var copies []string
	for _, file := range s.rules() {
		copies = append(copies, s.layout.Config(filepath.Join("prometheus", filepath.Base(file))))
	}
	return copies
}

// checkPrometheusFiles has Prometheus' own checker look at the checkout's files first: a
// Prometheus that runs goes on by what it has, where they are wrong.
func (s *Stack) checkPrometheusFiles(ctx context.Context) error {
	checks := [][]string{{"check", "config", "--syntax-only", s.checkedOut("scrape.yaml")}}
	if rules := s.rules(); len(rules) > 0 {
		checks = append(checks, append([]string{"check", "rules"}, rules...))
	}
	for _, args := range checks {
		var said strings.Builder
		if err := process.Run(ctx, &said, s.path(promtool), args...); err != nil {
			return fmt.Errorf("promtool %s: %w: %s", strings.Join(args, " "), err, said.String())
		}
	}
	return nil
}

// writePrometheusConfig writes Prometheus' configuration and rules.
func (s *Stack) writePrometheusConfig(target string) error {
	scrape, err := os.ReadFile(s.checkedOut("scrape.yaml"))
	if err != nil {
		return fmt.Errorf("reading what Prometheus scrapes: %w", err)
	}
	config, err := s.fromOutside(scrape)
	if err != nil {
		return fmt.Errorf("%s: %w", s.checkedOut("scrape.yaml"), err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	copies := s.ruleCopies()
	for i, file := range s.rules() {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := process.WriteFile(copies[i], content, 0o644); err != nil {
			return err
		}
	}
	return process.WriteFile(target, config, 0o644)
}

// fromOutside is a configuration for a Prometheus within a cluster, made one for a process
// beside it: it comes to the API server and to kubelets as the administrator. What is written
// to it may come a little late, and its rules are the checkout's.
func (s *Stack) fromOutside(scrape []byte) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(scrape, &config); err != nil {
		return nil, err
	}
	jobs, _ := config["scrape_configs"].([]any)
	if len(jobs) == 0 {
		return nil, errors.New("it has no scrape_configs")
	}
	for i, of := range jobs {
		job, ok := of.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("scrape_configs[%d] is no job", i)
		}
		s.asAdministrator(job)
	}
	if copies := s.ruleCopies(); len(copies) > 0 {
		config["rule_files"] = copies
	}
	config["storage"] = map[string]any{"tsdb": map[string]any{"out_of_order_time_window": "10m"}}
	return yaml.Marshal(config)
}

// asAdministrator gives a job the administrator's ways instead of a service account's.
func (s *Stack) asAdministrator(job map[string]any) {
	discoveries, _ := job["kubernetes_sd_configs"].([]any)
	for _, of := range discoveries {
		if discovery, ok := of.(map[string]any); ok {
			discovery["kubeconfig_file"] = s.layout.Kubeconfig("admin")
		}
	}
	if _, authorized := job["authorization"]; authorized {
		delete(job, "authorization")
		job["tls_config"] = map[string]any{
			"ca_file": s.layout.Cert("ca"), "cert_file": s.layout.Cert("admin"), "key_file": s.layout.Key("admin"),
		}
	}
}

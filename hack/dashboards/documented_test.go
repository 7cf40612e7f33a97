package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// metricsOf are the names that an expression asks for.
func metricsOf(t *testing.T, expr string) []string {
	t.Helper()
	read, err := expressions().ParseExpr(filled(expr, sample))
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	var names []string
	parser.Inspect(read, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if selector.Name == "" {
			t.Errorf("%s: asks for a metric without its name", expr)
		}
		names = append(names, selector.Name)
		return nil
	})
	return names
}

var (
	firstCell   = regexp.MustCompile(`(?m)^\| (.*?) \|`)
	inBackticks = regexp.MustCompile("`([a-zA-Z_:]+)`")
)

// documented are the metrics of the documentation's tables.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		if base := filepath.Base(path); base != "metrics.md" && base != "observability.md" {
			continue
		}
		for _, row := range firstCell.FindAllStringSubmatch(read(t, path), -1) {
			for _, name := range inBackticks.FindAllStringSubmatch(row[1], -1) {
				names[name[1]] = true
			}
		}
	}
	return names
}

// Each metric that a dashboard or a rule asks for is in the documentation's tables, or is
// recorded by a rule: a histogram is there by its own name.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	known := documented(t)
	known["ALERTS"] = true
	asking := map[string][]string{}
	for _, path := range ruleFiles(t) {
		for _, rule := range ruleFile(t, path) {
			if rule.Record != "" {
				known[rule.Record] = true
			}
			asking[filepath.Base(path)+": "+rule.Record+rule.Alert] = metricsOf(t, rule.Expr)
		}
	}
	for name, d := range committed(t) {
		for _, a := range queriesOf(t, name, d) {
			asking[a.String()] = append(asking[a.String()], metricsOf(t, a.expr)...)
		}
		for _, v := range d.Templating.List {
			if v.Type == dashboard.VariableTypeQuery {
				metric, _, _ := strings.Cut(strings.TrimPrefix(*v.Query.String, "label_values("), ", "+v.Name)
				asking[name+", variable "+v.Name] = metricsOf(t, metric)
			}
		}
	}
	for who, metrics := range asking {
		for _, metric := range metrics {
			base := metric
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !known[metric] && !known[base] {
				t.Errorf("%s asks for %s, which is in no table of docs/metrics.md", who, metric)
			}
			if !model.LegacyValidation.IsValidMetricName(metric) {
				t.Errorf("%s asks for %q", who, metric)
			}
		}
	}
}

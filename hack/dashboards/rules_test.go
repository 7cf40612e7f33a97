package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

const (
	rulesFolder = "../../config/observability/prometheus"
	runbooks    = "../../docs/runbooks"
)

// ruleFile are the rules of a file, in their order.
func ruleFile(t *testing.T, path string) []rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.LegacyValidation, expressions(), promslog.NewNopLogger())
	for _, err := range errs {
		t.Errorf("%s: %v", path, err)
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	var rules []rulefmt.Rule
	for _, group := range groups.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func ruleFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rulesFolder, "rules-*.yaml"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("rules in %q: %v", paths, err)
	}
	return paths
}

// alerts are all of them, by name.
func alerts(t *testing.T) map[string][]rulefmt.Rule {
	t.Helper()
	found := map[string][]rulefmt.Rule{}
	for _, path := range ruleFiles(t) {
		for _, rule := range ruleFile(t, path) {
			if rule.Alert != "" {
				found[rule.Alert] = append(found[rule.Alert], rule)
			}
		}
	}
	return found
}

// Each alert tells whoever is woken by it what it is about and where to read on.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, rules := range alerts(t) {
		for _, rule := range rules {
			if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
				t.Errorf("%s: severity %q", name, rule.Labels["severity"])
			}
			for _, annotation := range []string{"summary", "description"} {
				if rule.Annotations[annotation] == "" {
					t.Errorf("%s: no %s", name, annotation)
				}
			}
			if got, want := rule.Annotations["runbook_url"], "docs/runbooks/"+name+".md"; got != want {
				t.Errorf("%s: runbook_url %q, want %q", name, got, want)
			}
		}
	}
}

// Each alert has a page, each page an alert, and the list has them all.
func TestRunbooksAreThoseOfTheAlerts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, path := range paths {
		if name := strings.TrimSuffix(filepath.Base(path), ".md"); name != "README" {
			pages = append(pages, name)
		}
	}
	names := slices.Sorted(maps.Keys(alerts(t)))
	if !slices.Equal(names, pages) {
		t.Errorf("alerts are\n%q, pages are\n%q", names, pages)
	}
	list := read(t, filepath.Join(runbooks, "README.md"))
	for name, rules := range alerts(t) {
		if row := fmt.Sprintf("| [%s](%s.md) | %s |", name, name, rules[0].Labels["severity"]); !strings.Contains(list, row) {
			t.Errorf("the list has no row %q", row)
		}
		page := read(t, filepath.Join(runbooks, name+".md"))
		for _, part := range []string{"# " + name + "\n", "Severity: " + rules[0].Labels["severity"] + ".", "## What it means\n", "## What to look at\n", "## What to do\n"} {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %q", name, part)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ruleTests is a file as promtool reads it, as far as it is used here.
type ruleTests struct {
	RuleFiles []string       `yaml:"rule_files"`
	Every     model.Duration `yaml:"evaluation_interval"`
	Tests     []ruleTest     `yaml:"tests"`
}

type ruleTest struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Queries []struct {
		Expr string         `yaml:"expr"`
		At   model.Duration `yaml:"eval_time"`
		Want []struct {
			Labels string  `yaml:"labels"`
			Value  float64 `yaml:"value"`
		} `yaml:"exp_samples"`
	} `yaml:"promql_expr_test"`
}

func testFiles(t *testing.T) map[string]ruleTests {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rulesFolder, "tests", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("tests in %q: %v", paths, err)
	}
	files := map[string]ruleTests{}
	for _, path := range paths {
		var file ruleTests
		if err := yaml.Unmarshal([]byte(read(t, path)), &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files[path] = file
	}
	return files
}

// The tests that promtool runs, by Prometheus' own engine, so that no program is needed.
func TestRules(t *testing.T) {
	t.Parallel()
	for path, file := range testFiles(t) {
		var rules []rulefmt.Rule
		for _, name := range file.RuleFiles {
			rules = append(rules, ruleFile(t, filepath.Join(filepath.Dir(path), name))...)
		}
		for _, test := range file.Tests {
			t.Run(test.Name, func(t *testing.T) {
				t.Parallel()
				test.run(t, rules, time.Duration(file.Every))
			})
		}
	}
}

func (test ruleTest) run(t *testing.T, rules []rulefmt.Rule, every time.Duration) {
	begin := time.Unix(0, 0)
	end := begin
	for _, q := range test.Queries {
		if at := begin.Add(time.Duration(q.At)); at.After(end) {
			end = at
		}
	}
	store := newMemory()
	for _, s := range test.Series {
		of, values, err := expressions().ParseSeriesDesc(s.Series + " " + s.Values)
		if err != nil {
			t.Fatalf("%s: %v", s.Series, err)
		}
		for i, v := range values {
			if !v.Omitted {
				store.add(of, begin.Add(time.Duration(i)*time.Duration(test.Interval)), v.Value)
			}
		}
	}
	e := newEvaluator(store, rules)
	for at := begin; !at.After(end); at = at.Add(every) {
		if err := e.evaluate(at); err != nil {
			t.Fatal(err)
		}
		for _, q := range test.Queries {
			if !begin.Add(time.Duration(q.At)).Equal(at) {
				continue
			}
			want := map[string]float64{}
			for _, s := range q.Want {
				of, err := expressions().ParseMetric(s.Labels)
				if err != nil {
					t.Fatalf("%s: %v", s.Labels, err)
				}
				want[of.String()] = s.Value
			}
			got, err := e.query(q.Expr, at)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]float64{}
			for _, s := range got {
				seen[s.Metric.String()] = s.F
			}
			if !maps.EqualFunc(seen, want, alike) {
				t.Errorf("%s at %s is\n%v, want\n%v", q.Expr, time.Duration(q.At), seen, want)
			}
		}
	}
}

// Each alert has a test by which it fires, and one by which it doesn't: in both, the test is
// of that alert by its name.
func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	fires, doesnt := map[string]bool{}, map[string]bool{}
	for _, file := range testFiles(t) {
		for _, test := range file.Tests {
			name, _, _ := strings.Cut(test.Name, ":")
			for _, q := range test.Queries {
				if !strings.Contains(q.Expr, "ALERTS") {
					continue
				}
				firing := false
				for _, want := range q.Want {
					of, err := expressions().ParseMetric(want.Labels)
					if err != nil {
						t.Fatal(err)
					}
					firing = firing || of.Get(labels.AlertName) == name
				}
				fires[name], doesnt[name] = fires[name] || firing, doesnt[name] || !firing
			}
		}
	}
	for name := range alerts(t) {
		if !fires[name] || !doesnt[name] {
			t.Errorf("%s: fires in a test: %t, doesn't in another: %t", name, fires[name], doesnt[name])
		}
	}
}

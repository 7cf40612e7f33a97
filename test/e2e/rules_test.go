//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// observability is where rules and dashboards are.
const observability = "../../config/observability"

// rules are the expressions of alerts and of what is recorded for them.
type rules struct{ alerts, records map[string]string }

func readRules(t *testing.T) rules {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(observability, "prometheus", "rules-*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("rules in %q: %v", paths, err)
	}
	found := rules{alerts: map[string]string{}, records: map[string]string{}}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Groups []struct {
				Rules []struct{ Alert, Record, Expr string } `json:"rules"`
			} `json:"groups"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, group := range file.Groups {
			for _, rule := range group.Rules {
				if rule.Alert == "" {
					found.records[rule.Record] = rule.Expr
				} else {
					found.alerts[rule.Alert] += rule.Expr
				}
			}
		}
	}
	return found
}

var (
	recorded = regexp.MustCompile(`sluice:\w+:\w+|sluice:\w+`)
	ofRecord = regexp.MustCompile(`(sluice:\w+:\w+|sluice:\w+)\[(\w+)\]`)
	window   = regexp.MustCompile(`\[(\d+[smhd])\]`)
)

// short is an alert's expression over a window of seconds instead of minutes, hours and days, with
// what is recorded for it put in its place: nothing has to have been recorded.
func (r rules) short(t *testing.T, alert, within string) string {
	t.Helper()
	expr, ok := r.alerts[alert]
	if !ok {
		t.Fatalf("there is no alert %s", alert)
	}
	return r.inPlace(expr, within)
}

func (r rules) inPlace(expr, within string) string {
	// What is recorded is at the rates of every 5m, so a range of it is as good at one time.
	expr = ofRecord.ReplaceAllString(expr, "$1["+within+":5s]")
	expr = window.ReplaceAllString(expr, "["+within+"]")
	for strings.Contains(expr, "sluice:") {
		expr = recorded.ReplaceAllStringFunc(expr, func(name string) string {
			return "(" + window.ReplaceAllString(ofRecord.ReplaceAllString(r.records[name], "$1["+within+":5s]"), "["+within+"]") + ")"
		})
	}
	return expr
}

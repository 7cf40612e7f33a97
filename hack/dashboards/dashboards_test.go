package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
)

const dashboardsFolder = "../../config/observability/dashboards"

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins() // else each query decodes as unknown
	os.Exit(m.Run())
}

// asked is what a panel asks, and where.
type asked struct {
	dashboard, panel string
	expr, legend     string
	instant          bool
}

func (a asked) String() string { return fmt.Sprintf("%s, %q", a.dashboard, a.panel) }

// committed are the dashboards as Grafana gets them, by name.
func committed(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dashboardsFolder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]dashboard.Dashboard{}
	for _, path := range paths {
		var d dashboard.Dashboard
		if err := json.Unmarshal([]byte(read(t, path)), &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found[strings.TrimSuffix(filepath.Base(path), ".json")] = d
	}
	return found
}

// queriesOf are those of all panels of a dashboard, read back.
func queriesOf(t *testing.T, name string, d dashboard.Dashboard) []asked {
	t.Helper()
	var found []asked
	for _, p := range d.Panels {
		var panels []dashboard.Panel
		if p.RowPanel != nil {
			panels = p.RowPanel.Panels
		}
		if p.Panel != nil {
			panels = append(panels, *p.Panel)
		}
		for _, panel := range panels {
			if len(panel.Targets) == 0 {
				t.Errorf("%s, %q: asks nothing", name, *panel.Title)
			}
			for _, target := range panel.Targets {
				q, ok := target.(*prometheus.Dataquery)
				if !ok {
					q2, isValue := target.(prometheus.Dataquery)
					if !isValue {
						t.Errorf("%s, %q: a query of type %T", name, *panel.Title, target)
						continue
					}
					q = &q2
				}
				a := asked{dashboard: name, panel: *panel.Title, expr: q.Expr, instant: q.Instant != nil && *q.Instant}
				if q.LegendFormat != nil {
					a.legend = *q.LegendFormat
				}
				if q.Datasource == nil || q.Datasource.Uid == nil || *q.Datasource.Uid != "${datasource}" {
					t.Errorf("%s: doesn't ask the Prometheus that is chosen", a)
				}
				found = append(found, a)
			}
		}
	}
	return found
}

// What is committed is what is written down here: hack/update-dashboards.sh mends it.
func TestDashboardsAreGenerated(t *testing.T) {
	t.Parallel()
	var names []string
	for _, b := range boards() {
		names = append(names, b.name)
		built, err := b.build()
		if err != nil {
			t.Fatal(err)
		}
		want, err := marshal(built)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(dashboardsFolder, b.name+".json")); got != string(want) {
			t.Errorf("%s.json isn't what is generated: run hack/update-dashboards.sh", b.name)
		}
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(committed(t))); !slices.Equal(got, names) {
		t.Errorf("there are %q, and generated %q", got, names)
	}
}

// Every panel and query that is written down is in the file, and can be read back from it.
func TestNothingIsLostInJSON(t *testing.T) {
	t.Parallel()
	read := committed(t)
	for _, b := range boards() {
		var want, got []string
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, q := range p.queries {
					want = append(want, p.title+": "+q.expr+" "+q.legend)
				}
			}
		}
		for _, a := range queriesOf(t, b.name, read[b.name]) {
			got = append(got, a.panel+": "+a.expr+" "+a.legend)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%q, want\n%q", b.name, got, want)
		}
	}
}

// Panels have places of their own, and none is beyond Grafana's 24 columns.
func TestPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	for name, d := range committed(t) {
		taken := map[[2]uint32]string{}
		for _, p := range d.Panels {
			if p.Panel == nil {
				continue
			}
			at := p.Panel.GridPos
			if at == nil || at.X+at.W > 24 {
				t.Errorf("%s, %q: is at %+v", name, *p.Panel.Title, at)
				continue
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, ok := taken[[2]uint32{x, y}]; ok {
						t.Fatalf("%s: %q is over %q", name, *p.Panel.Title, other)
					}
					taken[[2]uint32{x, y}] = *p.Panel.Title
				}
			}
		}
	}
}

var reference = regexp.MustCompile(`\$(\w+)|\$\{(\w+)\}`)

// filled has values in place of variables, as Grafana puts them.
func filled(expr string, values map[string]string) string {
	return reference.ReplaceAllStringFunc(expr, func(found string) string {
		return values[strings.Trim(found, "${}")]
	})
}

// Each variable that a query or another variable names is one of the dashboard's, or Grafana's
// own, and its values come from a metric that has the label.
func TestVariablesResolve(t *testing.T) {
	t.Parallel()
	values := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	for name, d := range committed(t) {
		known := []string{"__rate_interval"}
		for _, v := range d.Templating.List {
			if v.Type == dashboard.VariableTypeQuery {
				parts := values.FindStringSubmatch(*v.Query.String)
				if parts == nil {
					t.Fatalf("%s: the values of %s are asked for by %q", name, v.Name, *v.Query.String)
				}
				unresolved(t, name+", variable "+v.Name, parts[1], known)
				if parts[2] != v.Name {
					t.Errorf("%s: variable %s has the values of %s", name, v.Name, parts[2])
				}
				if _, err := expressions().ParseExpr(filled(parts[1], sample)); err != nil {
					t.Errorf("%s: the values of %s: %v", name, v.Name, err)
				}
			}
			known = append(known, v.Name)
		}
		for _, a := range queriesOf(t, name, d) {
			unresolved(t, a.String(), a.expr, known)
		}
	}
}

func unresolved(t *testing.T, where, expr string, known []string) {
	t.Helper()
	for _, found := range reference.FindAllString(expr, -1) {
		if !slices.Contains(known, strings.Trim(found, "${}")) {
			t.Errorf("%s: nothing is known of %s", where, found)
		}
	}
}

// sample are values that variables may have.
var sample = map[string]string{"tenant": "acme", "namespace": "search", "model": "ranker", "gateway": "shared", "__rate_interval": "1m"}

// Each query can be read by Prometheus, and has the labels that its legend names.
func TestQueriesAreRead(t *testing.T) {
	t.Parallel()
	inLegend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for name, d := range committed(t) {
		for _, a := range queriesOf(t, name, d) {
			expr, err := expressions().ParseExpr(filled(a.expr, sample))
			if err != nil {
				t.Errorf("%s: %v", a, err)
				continue
			}
			kept, all := keptBy(expr)
			for _, label := range inLegend.FindAllStringSubmatch(a.legend, -1) {
				if !all && !slices.Contains(kept, label[1]) {
					t.Errorf("%s: the legend names %s, and %q are kept", a, label[1], kept)
				}
			}
		}
	}
}

// keptBy are the labels that an expression's outermost aggregation keeps; all, where none is left out.
func keptBy(expr parser.Expr) (labels []string, all bool) {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		if e.Op == parser.TOPK {
			return keptBy(e.Expr)
		}
		return e.Grouping, e.Without
	case *parser.BinaryExpr:
		return keptBy(e.LHS)
	case *parser.ParenExpr:
		return keptBy(e.Expr)
	case *parser.Call:
		for _, arg := range e.Args {
			if arg.Type() == parser.ValueTypeVector {
				return keptBy(arg)
			}
		}
	}
	return nil, true
}

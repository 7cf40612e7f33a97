package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// store is Grafana's type of what panels ask.
const store = "prometheus"

// source is a variable of every dashboard: whichever Prometheus Grafana knows.
const source = "datasource"

// A board is a dashboard as it is written down here.
type board struct {
	// name is that of its file, and with "sluice-" its address in Grafana.
	name, title, about string
	variables          []variable
	rows               []row
}

// A variable is chosen at the top of a dashboard.
type variable struct {
	name, label string
	// metric has the values, in the label of the variable's name; by are matchers.
	metric, by string
	// one is true where a dashboard is about one of them: else all are chosen at first.
	one bool
}

type row struct {
	title  string
	panels []panel
}

// A panel shows queries over time, or the newest value where it says so.
type panel struct {
	title, about string
	// unit is one of Grafana's: reqps, s, percentunit, Bps, bytes, short.
	unit    string
	queries []query
	newest  bool
}

type query struct{ expr, legend string }

// width and height of a panel, of a row's 24 columns.
const width, height = 8, 8

func (b board) build() (dashboard.Dashboard, error) {
	builder := dashboard.NewDashboardBuilder("Sluice: "+b.title).
		Uid("sluice-"+b.name).Description(b.about).Tags([]string{"sluice"}).
		Time("now-1h", "now").Refresh("30s").Timezone("browser").Readonly().
		WithVariable(dashboard.NewDatasourceVariableBuilder(source).Label("Prometheus").Type(store))
	for _, v := range b.variables {
		builder = builder.WithVariable(v.build())
	}
	for _, r := range b.rows {
		builder = builder.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			if p.newest {
				builder = builder.WithPanel(p.stat())
			} else {
				builder = builder.WithPanel(p.series())
			}
		}
	}
	built, err := builder.Build()
	if err != nil {
		return dashboard.Dashboard{}, fmt.Errorf("building: %w", err)
	}
	return built, nil
}

func chosen() common.DataSourceRef {
	kind, uid := store, "${"+source+"}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

// values asks for those of a variable.
func (v variable) values() string {
	return fmt.Sprintf("label_values(%s%s, %s)", v.metric, v.by, v.name)
}

func (v variable) build() *dashboard.QueryVariableBuilder {
	values := v.values()
	builder := dashboard.NewQueryVariableBuilder(v.name).Label(v.label).Datasource(chosen()).
		Query(dashboard.StringOrMap{String: &values}).Definition(values).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
	if v.one {
		return builder
	}
	all, text := "$__all", "All"
	return builder.Multi(true).IncludeAll(true).AllValue(".*").Current(dashboard.VariableOption{
		Text: dashboard.StringOrArrayOfString{String: &text}, Value: dashboard.StringOrArrayOfString{String: &all},
	})
}

func (q query) target(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(chosen()).RefId(string(rune('A' + i))).Expr(q.expr).LegendFormat(q.legend)
}

func (p panel) series() *timeseries.PanelBuilder {
	builder := timeseries.NewPanelBuilder().Title(p.title).Description(p.about).Unit(p.unit).Datasource(chosen()).
		Span(width).Height(height).Min(0).FillOpacity(10).LineWidth(1).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom))
	for i, q := range p.queries {
		builder = builder.WithTarget(q.target(i).Range())
	}
	return builder
}

func (p panel) stat() *stat.PanelBuilder {
	builder := stat.NewPanelBuilder().Title(p.title).Description(p.about).Unit(p.unit).Datasource(chosen()).Span(width).Height(height).
		TextMode(common.BigValueTextModeValueAndName)
	for i, q := range p.queries {
		builder = builder.WithTarget(q.target(i).Instant())
	}
	return builder
}

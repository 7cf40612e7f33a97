package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
)

const (
	dashboardsPart = "What the dashboards ask of Prometheus, with all of the above in it"
	// askedTimes is how often each query is asked.
	askedTimes = 3
	// shownFor is the time that a panel shows, and shownEvery how far apart its points are.
	shownFor, shownEvery = time.Hour, 15 * time.Second
)

// panel is one of a dashboard, or a row of some.
type panel struct {
	Title   string  `json:"title"`
	Panels  []panel `json:"panels"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// asked is a query and the panel that asks it.
type asked struct{ panel, expr string }

// measureDashboards asks what each panel would, over an hour.
func (b *bench) measureDashboards(ctx context.Context) error {
	queries, err := readQueries(b.dashboards)
	if err != nil {
		return err
	}
	b.Sayf("dashboards: %d queries", len(queries))
	var took []float64
	slowest, longest := asked{}, 0.0
	for range askedTimes {
		for _, q := range queries {
			began := time.Now()
			if _, err := b.prometheus.Range(ctx, q.expr, began.Add(-shownFor), began, shownEvery); err != nil {
				return fmt.Errorf("panel %s: %w", q.panel, err)
			}
			ms := 1e3 * time.Since(began).Seconds()
			if took = append(took, ms); ms > longest {
				slowest, longest = q, ms
			}
		}
	}
	b.Sayf("dashboards: the slowest was that of panel %s", slowest.panel)
	b.report.Add(dashboardsPart,
		report.Value("p99 of a query", stats.Quantile(took, 0.99), "ms").Within(report.AtMost, 200),
		report.Median("each", stats.Summarize(took), "ms"),
		report.Value("queries", float64(len(queries)), ""),
	)
	return nil
}

// readQueries are those of all dashboards of a folder, each variable as it is at first: everything.
func readQueries(folder string) ([]asked, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing dashboards: %w", err)
	}
	var all []asked
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // who runs the benchmark names the folder
		if err != nil {
			return nil, fmt.Errorf("reading a dashboard: %w", err)
		}
		var dashboard panel
		if err := json.Unmarshal(text, &dashboard); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		all = dashboard.queries(filepath.Base(file), all)
	}
	if len(all) == 0 {
		return nil, errors.New("no dashboard in " + folder + " asks anything")
	}
	return all, nil
}

// everything is what a dashboard's variables stand for where nothing is chosen.
var everything = strings.NewReplacer(
	"$__rate_interval", "1m", "${__rate_interval}", "1m", "$__interval", "15s", "$__range", "1h",
	"$tenant", ".*", "$namespace", ".*", "$model", ".*", "$revision", ".*", "$gateway", ".*", "$pod", ".*",
)

func (p panel) queries(path string, all []asked) []asked {
	for _, target := range p.Targets {
		if target.Expr != "" {
			all = append(all, asked{panel: path, expr: everything.Replace(target.Expr)})
		}
	}
	for _, inner := range p.Panels {
		all = inner.queries(path+" / "+inner.Title, all)
	}
	return all
}

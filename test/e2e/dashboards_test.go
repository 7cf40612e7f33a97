//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/stores"
)

const (
	// drawnOver is $__rate_interval, and shownFor how long before its end the load begins: by then
	// the window has nothing but the load in it.
	drawnOver = 45 * time.Second
	shownFor  = 100 * time.Second
	// drawnWithin is how far from the load generator's number a panel's may be: rates are between
	// scrapes, and not between requests.
	drawnWithin = 0.1
	// answeredWithin bounds each query.
	answeredWithin = 2 * time.Second
)

// drawn is a query of a panel.
type drawn struct{ dashboard, panel, expr string }

func (d drawn) String() string { return fmt.Sprintf("%s, %q: %s", d.dashboard, d.panel, d.expr) }

// panels are all queries of all dashboards, those of one Model first: what they show is of the last
// seconds.
func panels(t *testing.T) []drawn {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(observability, "dashboards", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("dashboards in %q: %v", paths, err)
	}
	var all []drawn
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, panel := range file.Panels {
			for _, target := range panel.Targets {
				all = append(all, drawn{strings.TrimSuffix(filepath.Base(path), ".json"), panel.Title, target.Expr})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b drawn) int {
		first := func(d drawn) int {
			if d.dashboard == "model" {
				return 0
			}
			return 1
		}
		return first(a) - first(b)
	})
	return all
}

// of the gateways' log, or of the collector itself.
var collected = regexp.MustCompile(`sluice_(platform|tenant|namespace|model|revision)_(requests|request_duration|received|sent)|sluice:model_(errors|latency)|otelcol_|sluice_ended`)

// without are panels that have nothing to show of this load: what isn't asked for, what doesn't go
// wrong, and what the local stack's Knative doesn't tell.
var without = []string{
	"Alerts that fire", "Budgets that burn", "Held down by its cap", "Held down by a tenant's cap", "Certificates", "Errors, by revision", "Errors, by pod", "Errors, by Model",
	"Conditions that aren't met", "Models whose conditions aren't met", "Models without a proved limit",
	"Limits that a pod lacks", "Limits that gateway pods lack", "Models at the most replicas",
	"Bounds of trials that were passed", "Put right, tried again", "Refused, by Model",
	"Wait for a model that isn't warm", "How the waits ended",
	// What is made of recordings is there after these have been made.
	"Errors: burn rate", "Latency: burn rate",
	// Batch isn't used here.
	"Workers' asks for credits", "Requests of Batches", "Events to InferenceTriggers", "Events that ask for Batches", "How long they took",
	"Sent by the controller", "Collector's queues",
}

// uncapped is a limit that no cap of a tenant's holds down here.
const uncapped = "sluice_model_uncapped_requests_per_second"

// Each query of each dashboard is answered by the real Prometheus in time, those that have
// something to show aren't empty, and those of the Model under load say what the load generator did.
func TestDashboardsSayWhatTheLoadDid(t *testing.T) { //nolint:gocyclo // what one query has to say, after the other
	t.Parallel()
	s := newStage(t)
	prometheus, err := stores.FindPrometheus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logs := os.Getenv("SLUICE_OBSERVABILITY") == "true"
	s.create(s.ranker("drawn", fixed("10"), warmed, promising(time.Second)))
	endpoint := s.serving("drawn")
	seconds := s.run(plan(endpoint, load.Schedule{load.Hold(20, shownFor)})).Seconds
	last := seconds[len(seconds)-1-int(drawnOver.Seconds()) : len(seconds)-1]
	var offered, admitted, limited float64
	for _, second := range last {
		offered, admitted, limited = offered+float64(second.Offered), admitted+float64(second.Admitted), limited+float64(second.Limited)
	}
	each := 1 / drawnOver.Seconds()
	key := map[string]float64{
		`sum(rate(envoy_istio_sluice_offered{`: offered * each,
		`sum(rate(envoy_istio_sluice_offered{namespace=~"$namespace", model=~"$model"}[$__rate_interval])) -`: admitted * each,
		`max(sluice_limit_requests_per_second{`: 10,
	}
	if logs {
		key[`(sum(rate(sluice_model_requests_total{limit="refused"`] = limited / offered
	}
	for _, d := range panels(t) {
		asked := time.Now()
		samples, err := prometheus.Query(t.Context(), s.fill(d.expr, values("drawn")))
		if err != nil {
			t.Errorf("%s: %v", d, err)
			continue
		}
		if took := time.Since(asked); took > answeredWithin {
			t.Errorf("%s: answered after %s", d, took)
		}
		if !logs && collected.MatchString(d.expr) {
			continue
		}
		if len(samples) == 0 && !slices.Contains(without, d.panel) && !strings.Contains(d.expr, uncapped) {
			t.Errorf("%s: shows nothing", d)
		}
		if d.dashboard != "model" {
			continue
		}
		want, longest := math.NaN(), 0
		for begin, value := range key { // the longest is the one that is meant
			if strings.HasPrefix(d.expr, begin) && len(begin) > longest {
				want, longest = value, len(begin)
			}
		}
		if longest > 0 && (len(samples) != 1 || math.Abs(samples[0].Value-want) > drawnWithin*want) {
			t.Errorf("%s: shows %v, the load generator counted %g", d, samples, want)
		} else if longest > 0 {
			t.Logf("%s, %q: %.3g, the load generator counted %.3g", d.dashboard, d.panel, samples[0].Value, want)
		}
	}
}

// values of the variables, where one Model is chosen.
func values(model string) map[string]string {
	return map[string]string{"model": model, "tenant": ".*", "gateway": ".*", "__rate_interval": drawnOver.String()}
}

// fill puts values in place of a query's variables.
func (s *stage) fill(expr string, values map[string]string) string {
	for name, value := range values {
		expr = strings.ReplaceAll(expr, "$"+name, value)
	}
	return strings.ReplaceAll(expr, "$namespace", s.namespace)
}

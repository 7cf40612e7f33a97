package scrape

import (
	"math"
	"testing"
)

var page = Page(`# HELP writes_total Writes.
# TYPE writes_total counter
writes_total{outcome="written"} 7
writes_total{outcome="conflict"} 2
writes_total_of_others 100
# TYPE sluice_step_seconds histogram
sluice_step_seconds_bucket{step="prove",le="0.1"} 2
sluice_step_seconds_bucket{step="prove",le="0.2"} 6
sluice_step_seconds_bucket{step="prove",le="+Inf"} 8
sluice_step_seconds_sum{step="prove"} 1.5
sluice_step_seconds_count{step="prove"} 8
# TYPE other_seconds histogram
other_seconds_bucket{le="+Inf"} 3
# HELP writes_total Writes.
# TYPE writes_total counter
writes_total{outcome="written"} 5
`)

func TestSumsGoOverPodsAndLabels(t *testing.T) {
	for name, tt := range map[string]struct {
		metric string
		keep   func(Labels) bool
		want   float64
	}{
		"all":            {"writes_total", Every, 14},
		"some":           {"writes_total", func(l Labels) bool { return l["outcome"] == "written" }, 12},
		"none there yet": {"reads_total", Every, 0},
	} {
		if got, err := page.Sum(tt.metric, tt.keep); got != tt.want || err != nil {
			t.Errorf("%s: %v, error %v, want %v", name, got, err, tt.want)
		}
	}
	if _, err := Page("writes_total{ 1\n").Sum("writes_total", Every); err == nil {
		t.Error("read what is no metric")
	}
}

func TestHistograms(t *testing.T) {
	got, err := page.Histograms("sluice_")
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, error %v, want one", got, err)
	}
	h := got[`sluice_step_seconds{step="prove"}`]
	for q, want := range map[float64]float64{0.25: 0.1, 0.5: 0.15, 0.75: 0.2, 0.99: 0.2} {
		if value := h.Quantile(q); h.Count() != 8 || math.Abs(value-want) > 1e-9 {
			t.Errorf("quantile %v of %v values is %v, want %v", q, h.Count(), value, want)
		}
	}
	if empty := h.Since(h); empty.Count() != 0 || !math.IsNaN(empty.Quantile(0.5)) {
		t.Errorf("nothing new, but %v", empty)
	}
	before := Histogram{bounds: h.bounds, counts: []float64{2, 2, 2}}
	if since := h.Since(before); since.Count() != 6 || since.Quantile(0.5) <= 0.1 {
		t.Errorf("since then %v, want 6, most of them above 0.1", since)
	}
	if anew := before.Since(h); anew.Count() != 2 {
		t.Errorf("after a restart %v, want all", anew)
	}
}

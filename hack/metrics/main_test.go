package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// A package's metrics are found in each form in which they are defined, and what is a test's isn't.
func TestMetricsIn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, source := range map[string]string{
		"metrics.go": `package p
var (
	a = promauto.NewCounterVec(prometheus.CounterOpts{Name: "sluice_a_total", Help: "As, " + "all."}, []string{"x", "y"})
	b = prometheus.NewHistogram(prometheus.HistogramOpts{Buckets: nil, Name: "sluice_b_seconds", Help: "Bs."})
	c = prometheus.NewDesc("sluice_c", "Cs.", []string{"z"}, nil)
	d = prometheus.NewGauge(prometheus.GaugeOpts{Name: "others_d"})
	e = NewThing(Thing{Name: "e"})
)`,
		"metrics_test.go": `package p
var f = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_f"})`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := metricsIn(folder)
	want := []metric{
		{name: "sluice_a_total", kind: "counter", help: "As, all.", labels: []string{"x", "y"}},
		{name: "sluice_b_seconds", kind: "histogram", help: "Bs."},
		{name: "sluice_c", kind: "gauge", help: "Cs.", labels: []string{"z"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

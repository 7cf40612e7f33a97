package main

import (
	"strings"
	"testing"
	"time"
)

const page = `# HELP apiserver_request_total Counter of requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="networking.istio.io",resource="virtualservices",verb="PUT"} 3
apiserver_request_total{code="201",group="networking.internal.knative.dev",resource="ingresses",verb="POST"} 4
apiserver_request_total{code="200",group="networking.istio.io",resource="virtualservices",verb="WATCH"} 50
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",verb="PUT"} 600
apiserver_request_total_other{group="networking.istio.io",verb="PUT"} 7000
go_memstats_next_gc_bytes 4.25e+06
`

func TestSumOf(t *testing.T) {
	for _, c := range []struct {
		name, metric string
		keep         func(tags) bool
		want         float64
	}{
		{"writes to routes", "apiserver_request_total", changesRoutes, 7},
		{"everything of that name alone", "apiserver_request_total", every, 657},
		{"without labels", "go_memstats_next_gc_bytes", every, 4.25e6},
		{"nothing kept", "apiserver_request_total", func(tags) bool { return false }, 0},
	} {
		if got, err := sumOf([]byte(page), c.metric, c.keep); got != c.want || err != nil {
			t.Errorf("%s: %v, error %v, want %v", c.name, got, err, c.want)
		}
	}
}

// What isn't there is not nothing.
func TestSumOfWhatIsNotThere(t *testing.T) {
	if _, err := sumOf([]byte(page), "apiserver_request", every); err == nil || !strings.Contains(err.Error(), "there is no apiserver_request") {
		t.Errorf("error %v", err)
	}
}

func TestUsageOfFreshPods(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	told, err := parseUsage([]byte(`{"pods": [
		{"podRef": {"name": "istiod-1", "namespace": "istio-system"}, "containers": [
			{"memory": {"time": "2026-01-02T03:04:06Z", "workingSetBytes": 100}},
			{"memory": {"time": "2026-01-02T03:04:05Z", "workingSetBytes": 20}}]},
		{"podRef": {"name": "istiod-2", "namespace": "istio-system"}, "containers": [
			{"memory": {"time": "2026-01-02T03:04:04Z", "workingSetBytes": 1000}}]},
		{"podRef": {"name": "istiod-1", "namespace": "elsewhere"}, "containers": [
			{"memory": {"time": "2026-01-02T03:04:06Z", "workingSetBytes": 5000}}]}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	if bytes, pods := told.of("istio-system", []string{"istiod-1"}, now); bytes != 120 || pods != 1 {
		t.Errorf("one pod uses %v, %d are fresh", bytes, pods)
	}
	if _, pods := told.of("istio-system", []string{"istiod-1", "istiod-2"}, now); pods != 1 {
		t.Errorf("%d pods are fresh, want 1 of 2", pods)
	}
}

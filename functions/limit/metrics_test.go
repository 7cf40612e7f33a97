package limit

import (
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// However often limits are decided anew, whoever asks sees each of them, and none that
// is gone.
func TestLimitsInForceAreNeverMissing(t *testing.T) {
	const models = 200
	var plans []plan
	for i := range models {
		plans = append(plans, plan{of: rateLimit(fmt.Sprint("m-", i)), limit: big.NewRat(int64(i+1), 1)})
	}
	plans = append(plans, plan{of: rateLimit("refused"), err: errors.New("not a limit")},
		plan{of: rateLimit("gone"), limit: big.NewRat(1, 1), gone: true})
	limits, registry := newLimitsInForce(), prometheus.NewPedanticRegistry()
	registry.MustRegister(limits)
	seen := func() int {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if len(families) == 0 {
			return 0
		}
		return len(families[0].GetMetric())
	}
	if got := seen(); got != 0 {
		t.Errorf("%d limits before there are any", got)
	}
	limits.record(plans)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				limits.record(plans)
			}
		}
	}()
	for range 200 {
		if got := seen(); got != models {
			t.Fatalf("%d limits seen, want %d", got, models)
		}
	}
	close(stop)
	<-stopped
	limits.record(plans[:1])
	if got := seen(); got != 1 {
		t.Errorf("%d limits seen, want the one that is left", got)
	}
}

// Each gateway pod that lags is shown with how many limits it lacks, and none that doesn't.
func TestPodsBehind(t *testing.T) {
	late, later := Pod{Gateway: "shared", Name: "shared-1"}, Pod{Gateway: "tenant-acme", Name: "acme-1", IP: "10.0.0.1"}
	lagging := func(pods ...Pod) *proof {
		seen := proof{pods: 3}
		for _, pod := range pods {
			seen.lagging = append(seen.lagging, question{line: line{pod: pod}})
		}
		return &seen
	}
	plans := []plan{
		{of: rateLimit("a"), reported: lagging(late, later)},
		{of: rateLimit("b"), reported: lagging(late)},
		{of: rateLimit("proved"), reported: lagging()},
		{of: rateLimit("new")},
		{of: rateLimit("gone"), reported: lagging(late), gone: true},
	}
	pods := newLimitsBehind()
	pods.record(plans)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(pods)
	want := map[string]float64{"shared/shared-1": 2, "tenant-acme/acme-1": 1}
	if diff := cmp.Diff(want, shownBehind(t, registry)); diff != "" {
		t.Errorf("pods behind (-want, +got): %s", diff)
	}
	pods.record(plans[2:])
	if got := shownBehind(t, registry); len(got) > 0 {
		t.Errorf("%v are shown once all are proved", got)
	}
}

// shownBehind are the limits that pods lack, by gateway and pod.
func shownBehind(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			seen[m.GetLabel()[0].GetValue()+"/"+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return seen
}

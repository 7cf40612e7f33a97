//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/test/stores"
)

// scrapedWithin bounds the wait for a new pod to be found and scraped: intervals of 15 s, and the
// kubelet's own of about as much.
const scrapedWithin = 75 * time.Second

// By config/observability/prometheus/scrape.yaml Prometheus has what replicas, their warm-ups
// and the gateways say of a Model, under its name.
func TestPrometheusScrapesAModel(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	prometheus, err := stores.FindPrometheus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.create(s.ranker("watched", fixed("20"), warmed))
	endpoint := s.serving("watched")
	s.predict(endpoint)
	s.predict(endpoint)
	of := fmt.Sprintf(`namespace=%q,model="watched"`, s.namespace)
	replica := of + `,revision="watched-00001"`
	for query, want := range map[string]float64{
		`sum(up{job="sluice-warm-ups",` + replica + `})`:                                                                                                                 1,
		`sum(sluice_warmup_state{job="sluice-warm-ups",state="Warm",` + replica + `})`:                                                                                   1,
		`count(up{job="sluice-models",` + replica + `})`:                                                                                                                 1,
		`count(container_memory_working_set_bytes{job="sluice-containers",` + replica + `} > 0)`:                                                                         3,
		`count(container_cpu_usage_seconds_total{container="user-container",` + replica + `} > 0)`:                                                                       1,
		`sum(envoy_istio_sluice_offered{job="sluice-gateways",gateway="shared",` + of + `})`:                                                                             2,
		`max(sluice_limit_requests_per_second{job="sluice",component="limiter",` + of + `})`:                                                                             20,
		`count(envoy_istio_sluice_offered{route!="",` + of + `}) or vector(0)`:                                                                                           0,
		`count(container_memory_working_set_bytes * on (namespace, pod) group_left (revision) group by (namespace, pod, revision) (up{job="sluice-models",` + of + `}))`: 3,
	} {
		s.until(scrapedWithin, query, func(ctx context.Context) (string, error) {
			value, there, err := prometheus.Number(ctx, query)
			if err != nil || there && value == want {
				return "", err
			}
			return fmt.Sprintf("it is %g, want %g", value, want), nil
		})
	}
}

package whatif

import (
	"context"
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Every place is a tuning that Knative takes, and aims at what it says: to a percent of a
// whole target, which is what there is.
func TestPlacesAreTunings(t *testing.T) {
	cluster, err := config.NewConfigFromMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	limited, err := config.NewConfigFromMap(map[string]string{"max-scale-limit": "4", "max-scale": "4"})
	if err != nil {
		t.Fatal(err)
	}
	activation := func(n string) map[string]string {
		return map[string]string{v1alpha1.AutoscalingPrefix + "activation-scale": n}
	}
	for name, c := range map[string]struct {
		rate        string
		change      func(*v1alpha1.ModelSpec)
		measured    Measured
		full        float64
		annotations map[string]string
		cluster     *autoscalerconfig.Config
	}{
		"in flight":                  {"50", nil, measured, 5, nil, nil},
		"as many as are let in":      {"50", func(s *v1alpha1.ModelSpec) { s.ContainerConcurrency = to(int64(3)) }, measured, 3, nil, nil},
		"one at a time":              {"2", func(s *v1alpha1.ModelSpec) { s.ContainerConcurrency = to(int64(1)) }, Measured{Latency: 500 * time.Millisecond}, 1, nil, nil},
		"by requests per second":     {"50", func(s *v1alpha1.ModelSpec) { s.Autoscaling.Metric = v1alpha1.MetricRPS }, measured, 50, nil, nil},
		"a slow one":                 {"0.05", nil, Measured{}, 1, nil, nil},
		"a fast one":                 {"20000", nil, Measured{Latency: time.Millisecond}, 20, nil, nil},
		"few for the first request":  {"50", nil, measured, 5, activation("2"), nil},
		"many for the first request": {"50", nil, measured, 5, activation("40"), nil},
		"many to start with":         {"50", func(s *v1alpha1.ModelSpec) { s.Autoscaling.InitialReplicas = to(int32(40)) }, measured, 5, nil, nil},
		"few in this cluster":        {"50", func(s *v1alpha1.ModelSpec) { s.Autoscaling.MaxReplicas = to(int32(4)) }, measured, 5, activation("3"), limited},
	} {
		t.Run(name, func(t *testing.T) {
			rate := resource.MustParse(c.rate)
			q := Question{Measured: c.measured, Demand: day(240), Model: ranker(func(s *v1alpha1.ModelSpec) {
				s.Limit.RequestsPerSecondPerReplica = &rate
				if c.change != nil {
					c.change(s)
				}
			})}
			q.Model.Annotations = c.annotations
			q.Cluster = c.cluster
			if q.Cluster == nil {
				q.Cluster = cluster
			}
			s, _, err := q.setupOf(q.Model)
			if err != nil {
				t.Fatal(err)
			}
			sp := spaceOf(&s)
			if math.Abs(sp.full-c.full) > 1e-9 || len(sp.coarse()) > mostTries/2 {
				t.Errorf("a replica is full at %g, want %g; %d coarse places", sp.full, c.full, len(sp.coarse()))
			}
			for aim := range sp.aims {
				for least := range sp.least {
					of := sp.at(place{aim, least, least % len(sp.windows), aim % len(sp.headroom)})
					m := of.On(q.Model)
					if err := autoscaling.ValidateAnnotations(context.Background(), q.Cluster, m.AutoscalingAnnotations()); err != nil {
						t.Fatalf("%s: %v", of, err)
					}
					if n := m.Spec.Autoscaling.InitialReplicas; n != nil && *n > of.MaxReplicas {
						t.Fatalf("%s, with %d to start with", of, *n)
					}
					want, got := sp.aims[aim]*sp.full, float64(of.Target)*float64(of.TargetUtilization)/100
					if math.Abs(got-want) > float64(of.Target)/100 || of.MinReplicas > of.MaxReplicas {
						t.Errorf("%s: it aims at %g, want %g", of, got, want)
					}
				}
			}
			for _, p := range sp.coarse() {
				for _, n := range sp.around(p) {
					_ = sp.at(n) // is within the space
				}
			}
		})
	}
}

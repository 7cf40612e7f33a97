package replay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/metrics"
)

// windows are Knative's for one revision and the metric that it scales by. They are kept
// as its collector keeps them (serving pkg/autoscaler/metrics), which would scrape by the
// real clock.
type windows struct {
	stable, panicking averager
	// scraped is true if replicas are asked, and not the activators alone: then no data is
	// no decision.
	scraped bool
}

type averager interface {
	Record(at time.Time, value float64)
	WindowAverage(now time.Time) float64
	IsEmpty(now time.Time) bool
}

func newWindows(of *autoscalingv1alpha1.Metric) *windows {
	window := func(length time.Duration) averager {
		if of.AggregationAlgorithm() == autoscaling.MetricAggregationAlgorithmWeightedExponential {
			return aggregation.NewWeightedFloat64Buckets(length, config.BucketSize)
		}
		return aggregation.NewTimedFloat64Buckets(length, config.BucketSize)
	}
	return &windows{stable: window(of.Spec.StableWindow), panicking: window(of.Spec.PanicWindow), scraped: of.Spec.ScrapeTarget != ""}
}

func (w *windows) record(at time.Time, value float64) {
	w.stable.Record(at, value)
	w.panicking.Record(at, value)
}

// StableAndPanicConcurrency implements metrics.MetricClient.
func (w *windows) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	if w.scraped && w.stable.IsEmpty(now) {
		return 0, 0, metrics.ErrNoData
	}
	return w.stable.WindowAverage(now), w.panicking.WindowAverage(now), nil
}

// StableAndPanicRPS implements metrics.MetricClient: whoever is asked knows what it counts.
func (w *windows) StableAndPanicRPS(key types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	return w.StableAndPanicConcurrency(key, now)
}

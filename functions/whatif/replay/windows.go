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

// windows are Knative's for one revision. They are kept as its collector keeps them
// (serving pkg/autoscaler/metrics), which would scrape by the real clock: of both metrics,
// since the revision may come to scale by the other one.
type windows struct {
	concurrency, requests averages
	// scraped is true if replicas are asked, and not the activators alone: then no data is
	// no decision.
	scraped bool
}

// averages are a metric's.
type averages struct{ stable, panicking averager }

type averager interface {
	Record(at time.Time, value float64)
	ResizeWindow(length time.Duration)
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
	both := func() averages { return averages{window(of.Spec.StableWindow), window(of.Spec.PanicWindow)} }
	return &windows{concurrency: both(), requests: both(), scraped: of.Spec.ScrapeTarget != ""}
}

// resize has windows be as long as a metric says, with what they have. How they average is
// settled from their beginning.
func (w *windows) resize(to *autoscalingv1alpha1.Metric) {
	for _, of := range []averages{w.concurrency, w.requests} {
		of.stable.ResizeWindow(to.Spec.StableWindow)
		of.panicking.ResizeWindow(to.Spec.PanicWindow)
	}
	w.scraped = to.Spec.ScrapeTarget != ""
}

func (w *windows) record(at time.Time, concurrency, requests float64) {
	w.concurrency.record(at, concurrency)
	w.requests.record(at, requests)
}

func (a averages) record(at time.Time, value float64) {
	a.stable.Record(at, value)
	a.panicking.Record(at, value)
}

// of is the averages of a metric.
func (w *windows) of(a averages, now time.Time) (stable, panicking float64, err error) {
	if w.scraped && a.stable.IsEmpty(now) {
		return 0, 0, metrics.ErrNoData
	}
	return a.stable.WindowAverage(now), a.panicking.WindowAverage(now), nil
}

// StableAndPanicConcurrency implements metrics.MetricClient.
func (w *windows) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	return w.of(w.concurrency, now)
}

// StableAndPanicRPS implements metrics.MetricClient.
func (w *windows) StableAndPanicRPS(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	return w.of(w.requests, now)
}

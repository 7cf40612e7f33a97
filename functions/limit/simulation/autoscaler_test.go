package simulation

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"
	kparesources "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// tickEvery is how often Knative decides (serving pkg/autoscaler/scaling,
	// tickInterval).
	tickEvery = 2 * time.Second
	// observeEvery is how often activators and queue-proxies report what they had on
	// average (serving pkg/autoscaler/metrics, scrapeTickInterval).
	observeEvery = time.Second
)

// autoscaler is Knative's, for one revision, on a cluster configured as it comes.
type autoscaler struct {
	pa        *autoscalingv1alpha1.PodAutoscaler
	key       types.NamespacedName
	cluster   *autoscalerconfig.Config
	scaler    scaling.UniScaler
	collector *metrics.MetricCollector
	log       *zap.SugaredLogger
	// min and max bound the replicas; a max of 0 is no bound.
	min, max int32
	window   time.Duration
	// target is the value of the metric for which it wants one replica.
	target float64
	// ready is how many replicas it sees.
	ready int32
	// activator is true while it wants the activator in the path.
	activator bool
}

// ReadyCount implements resources.EndpointsCounter.
func (a *autoscaler) ReadyCount() (int, error) { return int(a.ready), nil }

// NotReadyCount implements resources.EndpointsCounter; nobody asks.
func (a *autoscaler) NotReadyCount() (int, error) { return 0, nil }

// newAutoscaler is what Knative makes of a Model's settings. It has to be closed.
func newAutoscaler(model *v1alpha1.Model) (*autoscaler, error) {
	cluster, err := config.NewConfigFromMap(map[string]string{})
	if err != nil {
		return nil, fmt.Errorf("reading Knative's defaults: %w", err)
	}
	a := &autoscaler{
		cluster: cluster,
		key:     types.NamespacedName{Namespace: model.Namespace, Name: model.Name},
		log:     zap.NewNop().Sugar(),
		pa: &autoscalingv1alpha1.PodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: model.Namespace, Name: model.Name, Annotations: model.AutoscalingAnnotations()},
			Spec: autoscalingv1alpha1.PodAutoscalerSpec{
				ContainerConcurrency: *model.Spec.ContainerConcurrency,
				Reachability:         autoscalingv1alpha1.ReachabilityReachable,
			},
		},
	}
	decider := kparesources.MakeDecider(a.pa, cluster)
	a.target, a.window = decider.Spec.TargetValue, decider.Spec.StableWindow
	a.min, a.max = a.pa.ScaleBounds(cluster)
	a.collector = metrics.NewMetricCollector(noScraper, a.log)
	if err := a.collector.CreateOrUpdate(resources.MakeMetric(a.pa, "private", cluster)); err != nil {
		return nil, fmt.Errorf("collecting metrics: %w", err)
	}
	a.scaler = scaling.New(*attribute.EmptySet(), nil, a.key.Namespace, a.key.Name, a.collector, a, &decider.Spec)
	return a, nil
}

// noScraper leaves the collector with what it is given: it would scrape by the real
// clock.
func noScraper(*autoscalingv1alpha1.Metric, *zap.SugaredLogger) (metrics.StatsScraper, error) {
	return nil, nil
}

func (a *autoscaler) close() {
	a.collector.Delete(a.key.Namespace, a.key.Name)
	a.scaler.OnDelete()
}

// observe records a report of the second that ends: requests in flight on average,
// and how many came.
func (a *autoscaler) observe(now time.Time, concurrency, requests float64) {
	a.collector.Record(a.key, now.Add(-time.Nanosecond), metrics.Stat{AverageConcurrentRequests: concurrency, RequestCount: requests})
}

// decide is a tick. What comes of it is held to the bounds as Knative's reconciler
// does (serving pkg/reconciler/autoscaling/kpa, applyBounds); to zero it never goes
// here, as there is always some load.
func (a *autoscaler) decide(now time.Time) {
	if result := a.scaler.Scale(a.log, now); result.ScaleValid {
		a.want(max(1, result.DesiredPodCount))
		a.activator = result.ExcessBurstCapacity < 0
	}
}

func (a *autoscaler) want(n int32) {
	if n = max(a.min, n); a.max > 0 {
		n = min(a.max, n)
	}
	a.pa.Status.DesiredScale = &n
}

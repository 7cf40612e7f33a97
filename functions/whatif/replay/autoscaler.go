package replay

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/scaling"
	kparesources "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// TickEvery is how often Knative decides (serving pkg/autoscaler/scaling,
	// tickInterval).
	TickEvery = 2 * time.Second
	// ObserveEvery is how often activators and queue-proxies report what they had on
	// average (serving pkg/autoscaler/metrics, scrapeTickInterval).
	ObserveEvery = time.Second
	// progressDeadline is Knative's for a start, as it comes.
	progressDeadline = 10 * time.Minute
)

// Began is when every World does, at a full minute.
var Began = time.Unix(2_000_000_040, 0)

func at(d time.Duration) time.Time { return Began.Add(d) }

// autoscaler is Knative's, for one revision.
type autoscaler struct {
	pa      *autoscalingv1alpha1.PodAutoscaler
	cluster *autoscalerconfig.Config
	scaler  scaling.UniScaler
	windows *windows
	phases  Phases
	log     *zap.SugaredLogger
	// rps is true if it scales by requests per second.
	rps bool
	// least and most bound the replicas; a most of 0 is no bound. Floor is what min-scale is
	// beside that, for the demand.
	least, most, floor int32
	window             time.Duration
	// target is the value of the metric for which it wants one replica.
	target float64
	// ready is how many replicas it sees.
	ready int32
	// decided is what it decided last, and excess the burst that there is room for beyond
	// the one that there is to be.
	decided, excess int32
	// applied is how many replicas there are to be; while the last one is kept, that is one
	// more than are wanted.
	applied int32
	// activator is true while it wants the activator in the path.
	activator bool
	zeroing   zeroing
	way       way
}

// ReadyCount implements resources.EndpointsCounter.
func (a *autoscaler) ReadyCount() (int, error) { return int(a.ready), nil }

// NotReadyCount implements resources.EndpointsCounter; nobody asks.
func (a *autoscaler) NotReadyCount() (int, error) { return 0, nil }

// newAutoscaler is what Knative makes of a Model's settings, for a revision that was ready
// once; of a cluster without a configuration it is what comes with Knative.
func newAutoscaler(model *v1alpha1.Model, cluster *autoscalerconfig.Config, phases Phases) (*autoscaler, error) {
	if cluster == nil {
		var err error
		if cluster, err = config.NewConfigFromMap(map[string]string{}); err != nil {
			return nil, fmt.Errorf("reading Knative's defaults: %w", err)
		}
	}
	a := &autoscaler{cluster: cluster, phases: phases, log: zap.NewNop().Sugar(), way: way{proxied: Never}}
	a.pa = &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: model.Namespace, Name: model.Name, Annotations: model.AutoscalingAnnotations()},
		Spec:       autoscalingv1alpha1.PodAutoscalerSpec{Reachability: autoscalingv1alpha1.ReachabilityReachable},
		Status: autoscalingv1alpha1.PodAutoscalerStatus{Status: duckv1.Status{Conditions: duckv1.Conditions{{
			Type: autoscalingv1alpha1.PodAutoscalerConditionScaleTargetInitialized, Status: corev1.ConditionTrue, Severity: apis.ConditionSeverityInfo,
		}}}},
	}
	if n := model.Spec.ContainerConcurrency; n != nil {
		a.pa.Spec.ContainerConcurrency = *n
	}
	a.zeroing = zeroing{enabled: cluster.EnableScaleToZero, grace: cluster.ScaleToZeroGracePeriod, deadline: progressDeadline}
	if d := model.ProgressDeadline(); d > 0 {
		a.zeroing.deadline = d
	}
	spec, metric := a.settings()
	a.windows = newWindows(metric)
	a.scaler = scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), model.Namespace, model.Name, a.windows, a, spec)
	a.want(0)
	a.activator, a.way.proxied = true, 0
	return a, nil
}

// settings are what Knative makes of the PodAutoscaler's annotations whenever they change.
func (a *autoscaler) settings() (*scaling.DeciderSpec, *autoscalingv1alpha1.Metric) {
	spec := &kparesources.MakeDecider(a.pa, a.cluster).Spec
	a.target, a.window, a.rps = spec.TargetValue, spec.StableWindow, spec.ScalingMetric == autoscaling.RPS
	a.least, a.most = a.pa.ScaleBounds(a.cluster)
	a.zeroing.window, a.zeroing.retention = a.window, a.cluster.ScaleToZeroPodRetentionPeriod
	if d, ok := a.pa.ScaleToZeroPodRetention(); ok {
		a.zeroing.retention = d
	}
	scrape := "private"
	if spec.TargetBurstCapacity == -1 {
		scrape = "" // as Knative has it: the activators see everything
	}
	return spec, resources.MakeMetric(a.pa, scrape, a.cluster)
}

// tune has it go by a Model's settings from now on, as far as a revision that is there takes
// them up: what its first ones made of the scaler and the windows stays.
func (a *autoscaler) tune(model *v1alpha1.Model, now time.Duration) {
	a.pa.Annotations = model.AutoscalingAnnotations()
	spec, metric := a.settings()
	a.scaler.Update(spec)
	a.windows.resize(metric)
	a.reconcile(now)
}

// sleeps is true while the first request, by the activator, has it decide at once.
func (a *autoscaler) sleeps() bool { return a.decided == 0 && a.activator }

// waits is true while time alone can change what it wants.
func (a *autoscaler) waits() bool { return a.decided == 0 || a.way.phase == activating }

// observe records a report of the second before: requests in flight on average,
// and how many came. One that comes with a tick comes just before it.
func (a *autoscaler) observe(now time.Duration, concurrency, requests float64) {
	a.windows.record(a.clock(now).Add(-time.Nanosecond), concurrency, requests)
}

// scrape records what replicas said last before a tick: nothing beside what the activator has
// told of. An average over a window counts it as a report all the same.
func (a *autoscaler) scrape(tick time.Duration) {
	if a.activator && a.ready > 0 && a.windows.scraped {
		a.windows.record(a.clock(tick-ObserveEvery+a.phases.Scrape), 0, 0)
	}
}

// clock is the autoscaler's, by whose seconds it keeps its windows.
func (a *autoscaler) clock(now time.Duration) time.Time { return at(now).Add(a.phases.Clock) }

// decide is a tick.
func (a *autoscaler) decide(now time.Duration) {
	if result := a.scaler.Scale(a.log, a.clock(now)); result.ScaleValid {
		a.decided, a.excess = result.DesiredPodCount, result.ExcessBurstCapacity
	}
	a.reconcile(now)
}

// reconcile is what Knative's reconciler makes of the last decision: it is held to the
// bounds, and the last replica goes only after a while.
func (a *autoscaler) reconcile(now time.Duration) {
	want := a.bounded(a.decided)
	apply := true
	if want == 0 {
		var known bool
		if want, apply, known = a.zeroing.next(a.way, now); !known {
			return
		}
	}
	a.want(want)
	if apply {
		a.applied = want
	}
	a.activator = want == 0 || a.excess < 0
	a.way = a.way.moved(want, a.ready, max(1, a.min()), now).through(a.activator, now)
}

// min is what min-scale is: at most max-scale.
func (a *autoscaler) min() int32 {
	n := max(a.least, a.floor)
	if a.most > 0 {
		n = min(n, a.most)
	}
	return n
}

func (a *autoscaler) bounded(n int32) int32 {
	if n = max(a.min(), n); a.most > 0 {
		n = min(a.most, n)
	}
	return n
}

func (a *autoscaler) want(n int32) { a.pa.Status.DesiredScale = &n }

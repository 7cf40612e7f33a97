package simulation

import (
	"fmt"
	"math"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// corner is a Model, its replicas and a change of its demand: a point of the grid.
// Rates are in multiples of what one replica is said to serve, q.
type corner struct {
	// perReplica is q, in requests per second.
	perReplica float64
	// latency is how long a replica works on a request.
	latency time.Duration
	metric  v1alpha1.AutoscalingMetric
	// settle is the rate per replica at which the autoscaler settles: target ×
	// utilisation, as a rate. Above 1 it wants more of a replica than q.
	settle float64
	// utilization is targetUtilization, in percent.
	utilization int32
	kind        kind
	// before and after are the demand; the change takes ramp. Before of 0 is from zero.
	before, after float64
	ramp          time.Duration
	start, window time.Duration
	most          int32
	// burst is targetBurstCapacity.
	burst int32
	// policy and headroom, in percent, are the Model's.
	policy   v1alpha1.LimitPolicy
	headroom int32
}

// kind is what holds a replica's requests, if anything does.
type kind string

const (
	// elastic replicas take any number of requests and never get slower: nothing but
	// what is admitted tells the autoscaler of demand.
	elastic kind = "elastic"
	// breaker replicas are behind a queue-proxy that lets through containerConcurrency,
	// which is the target.
	breaker kind = "breaker"
	// saturated replicas serve just q; the rest waits in the container.
	saturated kind = "saturated"
)

func (c corner) String() string {
	return fmt.Sprintf("q=%g/s×%v %s settle=%g util=%d%% %g→%g in %v start=%v window=%v tbc=%d %s", c.perReplica, c.latency, c.metric,
		c.settle, c.utilization, c.before, c.after, c.ramp, c.start, c.window, c.burst, c.kind)
}

// target is the autoscaler's, such that it settles where it should.
func (c corner) target() float64 {
	value := c.settle * c.perReplica
	if c.metric == v1alpha1.MetricConcurrency {
		value *= c.latency.Seconds()
	}
	return value * 100 / float64(c.utilization)
}

// concurrency is containerConcurrency.
func (c corner) concurrency() int64 {
	if c.kind == breaker {
		return int64(math.Ceil(c.target() - 1e-9))
	}
	return 0
}

// capacity is what a replica can really serve.
func (c corner) capacity() float64 {
	switch c.kind {
	case breaker:
		return float64(c.concurrency()) / c.latency.Seconds() / c.perReplica
	case saturated:
		return 1
	}
	return math.Inf(1)
}

// same is how many replicas the autoscaler wants of its own accord.
func (c corner) same() int32 { return c.bounded(c.after / c.settle) }

// enough is how many of those serve the demand at q each.
func (c corner) enough() int32 { return c.bounded(c.after / math.Max(1, c.settle)) }

func (c corner) bounded(n float64) int32 {
	return min(c.most, int32(math.Ceil(n-1e-6)))
}

// demand is in requests per second.
func (c corner) demand(at time.Duration) float64 {
	part := 1.
	if at < c.ramp {
		part = float64(at) / float64(c.ramp)
	}
	return c.perReplica * (c.before + (c.after-c.before)*part)
}

func (c corner) model() *v1alpha1.Model {
	concurrency := c.concurrency()
	rate := resource.MustParse(strconv.FormatFloat(c.perReplica, 'f', -1, 64))
	return &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "simulation", Name: "model", Annotations: map[string]string{
			autoscaling.TargetAnnotationKey: strconv.FormatFloat(c.target(), 'f', 6, 64),
		}},
		Spec: v1alpha1.ModelSpec{
			Container:            corev1.Container{Image: "model"},
			ContainerConcurrency: &concurrency,
			Autoscaling: v1alpha1.AutoscalingSpec{
				Metric: c.metric, TargetUtilization: &c.utilization, MaxReplicas: &c.most,
				Window: &metav1.Duration{Duration: c.window}, TargetBurstCapacity: &c.burst,
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate, Policy: c.policy, HeadroomPercent: &c.headroom},
		},
	}
}

// grid is every combination of what matters to starvation. What matters less goes
// round: each of its values meets each of the others.
func grid() []corner {
	var corners []corner
	for _, settle := range []float64{.5, .7, 1, 1.4, 1.9, 3} {
		for _, after := range []float64{2, 8, 50} {
			for _, latency := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second} {
				for _, start := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
					for _, window := range []time.Duration{10 * time.Second, time.Minute} {
						for _, kind := range []kind{elastic, breaker, saturated} {
							corners = append(corners, corner{
								settle: settle, after: after, latency: latency, start: start, window: window, kind: kind,
								most: int32(2*after) + 2, metric: v1alpha1.MetricConcurrency,
							}.round(len(corners)))
						}
					}
				}
			}
		}
	}
	return corners
}

// round fills in what goes round.
func (c corner) round(i int) corner {
	c.perReplica = []float64{50, 2, 7.5}[i/7%3]
	c.utilization = []int32{70, 100, 80}[i/5%3]
	c.before = []float64{.3, 0}[i/11%2]
	c.ramp = []time.Duration{0, 0, 30 * time.Second}[i/13%3]
	c.burst = []int32{211, 0, -1}[i/17%3]
	return c
}

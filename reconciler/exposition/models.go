package exposition

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var (
	availability = prometheus.NewDesc("sluice_model_objective_availability",
		"The share of requests that is to be answered without an error, by the Model's objective.",
		[]string{"tenant", "namespace", "model"}, nil)
	latency = prometheus.NewDesc("sluice_model_objective_latency",
		"The share of requests that is to be answered within le seconds, by the Model's objective.",
		[]string{"tenant", "namespace", "model", "le"}, nil)
	unmet = prometheus.NewDesc("sluice_model_condition_unmet",
		"1 for each condition of a Model that isn't true, but for Ready, by its status: False, Unknown.",
		[]string{"tenant", "namespace", "model", "condition", "status", "reason"}, nil)
	replicas = prometheus.NewDesc("sluice_revision_replicas",
		"Replicas of revisions that get requests, by state: desired (by their autoscaler), ready, missing (of the desired, those that aren't coming).",
		[]string{"tenant", "namespace", "model", "revision", "state"}, nil)
	maxReplicas = prometheus.NewDesc("sluice_model_max_replicas",
		"The most replicas that each revision of the Model may have, by itself, a trial or its tenant's caps; none where nothing bounds them.",
		[]string{"tenant", "namespace", "model"}, nil)
	uncapped = prometheus.NewDesc("sluice_model_uncapped_requests_per_second",
		"What the Model's limit would be without its tenant's cap, while that holds it down.",
		[]string{"tenant", "namespace", "model"}, nil)
)

// Models shows those that live.
type Models struct {
	// List has all that there are.
	List func() ([]*v1alpha1.Model, error)
	// Tenant names who holds a namespace; "" if nobody does.
	Tenant func(namespace string) string
}

// Describe implements prometheus.Collector.
func (m Models) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{availability, latency, unmet, replicas, maxReplicas, uncapped} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m Models) Collect(out chan<- prometheus.Metric) {
	models, err := m.List()
	if err != nil {
		out <- prometheus.NewInvalidMetric(availability, err)
		return
	}
	for _, model := range models {
		if model.DeletionTimestamp != nil {
			continue
		}
		tenant := m.Tenant(model.Namespace)
		if tenant == "" {
			tenant = gateway.NoTenant
		}
		s := series{model: model, labels: []string{tenant, model.Namespace, model.Name}, out: out}
		s.objective()
		s.conditions()
		s.replicas()
	}
}

// series are a Model's.
type series struct {
	model  *v1alpha1.Model
	labels []string
	out    chan<- prometheus.Metric
}

func (s series) show(of *prometheus.Desc, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, value, append(s.labels[:len(s.labels):len(s.labels)], labels...)...)
}

// objective shows what can be held to: what the webhook refuses may have been written while it was
// away.
func (s series) objective() {
	o := s.model.Spec.Objective
	if o == nil || s.model.CheckObjective() != nil {
		return
	}
	if o.Availability != nil {
		s.show(availability, share(o.Availability))
	}
	if o.Latency != nil {
		s.show(latency, share(o.Latency.Percent), Bound(o.Latency.Threshold.Duration))
	}
}

// share is a percentage's, as near as can be: 99.9 is 0.999, and not what a division by 100
// leaves of it.
func share(percent *resource.Quantity) float64 {
	digits := percent.DeepCopy()
	parts := digits.AsDec()
	parts.SetScale(parts.Scale() + 2)
	value, err := strconv.ParseFloat(parts.String(), 64)
	if err != nil {
		return percent.AsApproximateFloat64() / 100
	}
	return value
}

// Bound is a bound of a histogram as Prometheus' client writes it in the label le, in seconds.
func Bound(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

func (s series) conditions() {
	for _, c := range s.model.Status.Conditions {
		if c.Type != apis.ConditionReady && c.Status != corev1.ConditionTrue {
			s.show(unmet, 1, string(c.Type), string(c.Status), c.Reason)
		}
	}
}

func (s series) replicas() {
	status := &s.model.Status
	for _, r := range status.Revisions {
		s.show(replicas, float64(r.Desired), r.Name, "desired")
		s.show(replicas, float64(r.Ready), r.Name, "ready")
		s.show(replicas, float64(r.Missing), r.Name, "missing")
	}
	most := s.model.InForce().MaxReplicas()
	if capped := status.MaxReplicas; capped != nil && *capped > 0 {
		most = min(most, int64(*capped))
	}
	if most != v1alpha1.UnboundedReplicas {
		s.show(maxReplicas, float64(most))
	}
	if l := status.Limit; l != nil && l.UncappedRequestsPerSecond != nil {
		s.show(uncapped, l.UncappedRequestsPerSecond.AsApproximateFloat64())
	}
}

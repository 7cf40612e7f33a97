package v1alpha1

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
)

const (
	pathRate   = "spec.limit.requestsPerSecondPerReplica"
	pathTarget = "spec.autoscaling.target"
)

// autoscalingAim is what Knative's autoscaler will do with a Model, resolved as it
// does (serving/pkg/reconciler/autoscaling/resources, ResolveMetricTarget).
type autoscalingAim struct {
	metric      string
	target      float64 // of the metric, for one replica
	utilization float64 // 0 to 1
	concurrency float64 // containerConcurrency; 0 for no bound
	timeout     float64 // seconds
	min, max    float64 // replicas; a max of 0 is no bound
}

// perReplica is the value of the metric above which another replica is added.
func (a autoscalingAim) perReplica() float64 {
	target := a.target
	if a.clipped() {
		target = a.concurrency
	}
	return math.Max(autoscaling.TargetMin, target*a.utilization)
}

// inFlight bounds the requests in flight at a replica that serves q per second: each
// is there for timeoutSeconds at most, and no more than containerConcurrency are
// worked on at once. It serves q, so they don't pile up before it.
func (a autoscalingAim) inFlight(q float64) float64 {
	if a.concurrency > 0 {
		return math.Min(a.concurrency, q*a.timeout)
	}
	return q * a.timeout
}

func (a autoscalingAim) clipped() bool {
	return a.metric == autoscaling.Concurrency && a.concurrency > 0 && a.target > a.concurrency
}

// scales is false where no limit can keep the autoscaler from scaling up, as it
// never goes above one replica or above what it always has.
func (a autoscalingAim) scales() bool {
	return a.max == 0 || a.max > math.Max(1, a.min)
}

// aim resolves what the autoscaler will do; false where that isn't the KPA's
// business, or an annotation doesn't parse, which is reported elsewhere.
func (m *Model) aim(ctx context.Context) (autoscalingAim, bool) {
	cluster := servingconfig.FromContextOrDefaults(ctx)
	annotations := m.AutoscalingAnnotations()
	revision := m.Spec.RevisionSpec()
	revision.SetDefaults(apis.WithinSpec(ctx))
	aim := autoscalingAim{
		metric:      annotations[autoscaling.MetricAnnotationKey],
		target:      cluster.Autoscaler.RPSTargetDefault,
		utilization: cluster.Autoscaler.TargetUtilization,
		concurrency: float64(*revision.ContainerConcurrency),
		timeout:     float64(*revision.TimeoutSeconds),
		min:         float64(cluster.Autoscaler.MinScale),
		max:         float64(cluster.Autoscaler.MaxScale),
	}
	if aim.metric != autoscaling.RPS {
		aim.metric = autoscaling.Concurrency
		aim.utilization = cluster.Autoscaler.ContainerConcurrencyTargetFraction
		aim.target = aim.concurrency
		if aim.target == 0 {
			aim.target = cluster.Autoscaler.ContainerConcurrencyTargetDefault
		}
	}
	percent := aim.utilization * 100
	for key, into := range map[string]*float64{
		autoscaling.TargetAnnotationKey:            &aim.target,
		autoscaling.TargetUtilizationPercentageKey: &percent,
		autoscaling.MinScaleAnnotationKey:          &aim.min,
		autoscaling.MaxScaleAnnotationKey:          &aim.max,
	} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return autoscalingAim{}, false
		}
		*into = value
	}
	aim.utilization = percent / 100
	return aim, m.autoscalerClass(ctx) == autoscaling.KPA
}

// warnOfContradictions warns where the limit and the autoscaler work against each
// other, as far as that can be computed. The autoscaler only sees what the limit
// admits: at most q per replica with policy Ready, (1 + headroom) · q with Demand,
// which asks for replicas itself when more than that is offered.
func (m *Model) warnOfContradictions(ctx context.Context) *apis.FieldError {
	limit := m.Spec.Limit
	aim, ok := m.aim(ctx)
	if !ok || limit.RequestsPerSecondPerReplica == nil {
		return nil
	}
	var warnings *apis.FieldError
	if aim.clipped() {
		warnings = warnings.Also(warning(fmt.Sprintf("the autoscaler's target of %g requests in flight is above "+
			"containerConcurrency, which is %g; Knative goes by the latter", aim.target, aim.concurrency),
			m.autoscalingPath(autoscaling.TargetAnnotationKey)))
	}
	if !aim.scales() {
		return warnings
	}
	q := limit.RequestsPerSecondPerReplica.AsApproximateFloat64()
	seen, unit := q, "requests per second"
	if aim.metric == autoscaling.Concurrency {
		seen, unit = aim.inFlight(q), "requests in flight"
	}
	outcome, remedy := "this limit keeps the Model from ever scaling up", ""
	if limit.policy() == PolicyDemand && limit.HeadroomPercent != nil {
		seen *= 1 + float64(*limit.HeadroomPercent)/100
		outcome, remedy = "the Model scales up only once requests are refused", " or headroomPercent"
	}
	switch {
	case seen <= aim.perReplica():
		return warnings.Also(warning(fmt.Sprintf("%s: policy %s lets the autoscaler see at most %g %s per replica, and it adds a replica "+
			"only above %g (target × targetUtilization); lower the target, or raise requestsPerSecondPerReplica%s",
			outcome, limit.policy(), seen, unit, aim.perReplica(), remedy), pathRate, pathTarget))
	case aim.metric == autoscaling.RPS && aim.perReplica() > q:
		return warnings.Also(warning(fmt.Sprintf("the autoscaler settles at %g requests per second per replica "+
			"(target × targetUtilization), above the %g that one can serve: replicas will get more than that while more "+
			"could be had; lower the target, or raise requestsPerSecondPerReplica", aim.perReplica(), q), pathRate, pathTarget))
	}
	return warnings
}

func (l *LimitSpec) policy() LimitPolicy {
	if l.Policy == "" {
		return PolicyDemand
	}
	return l.Policy
}

// warnOfChanges warns where an update doesn't do what it seems to.
func (m *Model) warnOfChanges(ctx context.Context) *apis.FieldError {
	before, ok := apis.GetBaseline(ctx).(*Model)
	if !apis.IsInUpdate(ctx) || !ok {
		return nil
	}
	var warnings *apis.FieldError
	if old, now := before.targetRate(), m.targetRate(); old != nil && now != nil && old.Cmp(*now) != 0 {
		was, is := before.Spec.Limit.RequestsPerSecondPerReplica, m.Spec.Limit.RequestsPerSecondPerReplica
		if was != nil && is != nil && was.Cmp(*is) == 0 && was.Cmp(*old) == 0 {
			warnings = warnings.Also(warning(fmt.Sprintf("stays at %s while the target becomes %s: it was set when the Model was "+
				"created and doesn't follow; set it if it shall", is, now), pathRate))
		}
	}
	key := autoscaling.ClassAnnotationKey
	if before.autoscalerClass(ctx) != m.autoscalerClass(ctx) {
		warnings = warnings.Also(warning("Knative takes up another autoscaler class with the next revision only; "+
			"until then, changes of autoscaling have no effect", "metadata.annotations["+key+"]"))
	}
	return warnings.Also(m.warnOfSettled(ctx, before))
}

// farAboveCap is how many times its tenant's cap a Model may reach before it gets a
// warning: alone in its tenant, it couldn't use most of its replicas.
const farAboveCap = 2

// warnOfCap warns of replicas that the tenant's cap on requests leaves idle.
func (m *Model) warnOfCap(tenant *Tenant) *apis.FieldError {
	rate := m.Spec.Limit.RequestsPerSecondPerReplica
	if tenant == nil || tenant.Spec.Limits.RequestsPerSecond == nil || rate == nil {
		return nil
	}
	serves, by := rate.AsApproximateFloat64(), "one replica"
	if replicas := m.MaxReplicas(); replicas != UnboundedReplicas {
		serves, by = serves*float64(replicas), fmt.Sprintf("maxReplicas of %d", replicas)
	}
	limit := tenant.Spec.Limits.RequestsPerSecond
	if serves <= farAboveCap*limit.AsApproximateFloat64() {
		return nil
	}
	return warning(fmt.Sprintf("%s can serve %g requests per second, but all Models of tenant %q together are admitted %s "+
		"(spec.limits.requestsPerSecond of the Tenant); lower maxReplicas, or have the operator raise the cap", by, serves, tenant.Name, limit),
		pathRate, m.autoscalingPath(autoscaling.MaxScaleAnnotationKey))
}

func warning(message string, paths ...string) *apis.FieldError {
	return (&apis.FieldError{Message: message, Paths: paths}).At(apis.WarningLevel)
}

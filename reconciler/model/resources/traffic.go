package resources

import (
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Named is a target that names its revision.
func Named(revision string, percent int32, tag string) servingv1.TrafficTarget {
	share := int64(percent)
	return servingv1.TrafficTarget{RevisionName: revision, Percent: &share, Tag: tag, LatestRevision: new(bool)}
}

// Newest is a target without requests. Beside named ones it makes Knative count the
// newest revision as routed to while it isn't ready: else it would be put aside, and
// its least scale ignored. Named, one that isn't ready would freeze the whole Route.
func Newest() servingv1.TrafficTarget {
	latest := true
	return servingv1.TrafficTarget{LatestRevision: &latest, Percent: new(int64)}
}

// Floats is true of a Service that names no revision: all requests go to the newest
// one as soon as it is ready.
func Floats(service *servingv1.Service) bool {
	targets := service.Spec.Traffic
	return len(targets) == 0 || len(targets) == 1 && targets[0].RevisionName == "" && targets[0].Tag == ""
}

// Split is the percentage of each revision that a Service asks for; one that floats
// asks for the one that it has.
func Split(service *servingv1.Service) map[string]int32 {
	if Floats(service) {
		return percentages(service, service.Status.Traffic)
	}
	return percentages(service, service.Spec.Traffic)
}

// Routed is true if Knative saw the gateways serve what a Service asks for.
func Routed(service *servingv1.Service) bool {
	return service.Status.ObservedGeneration == service.Generation &&
		service.Status.GetCondition(servingv1.ServiceConditionRoutesReady).IsTrue() &&
		maps.Equal(Split(service), percentages(service, service.Status.Traffic))
}

// Present are the revisions that a Service's targets lead to, at whatever percentage,
// sorted.
func Present(service *servingv1.Service) []string {
	var names []string
	for _, t := range service.Spec.Traffic {
		names = append(names, revisionOf(service, t))
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

func percentages(service *servingv1.Service, targets []servingv1.TrafficTarget) map[string]int32 {
	split := map[string]int32{}
	for _, t := range targets {
		if name := revisionOf(service, t); name != "" && t.Percent != nil && *t.Percent > 0 {
			split[name] += int32(*t.Percent)
		}
	}
	return split
}

func revisionOf(service *servingv1.Service, t servingv1.TrafficTarget) string {
	if t.RevisionName == "" {
		return service.Status.LatestReadyRevisionName
	}
	return t.RevisionName
}

// Newly is the newest revision of a Service, "" while Knative has yet to say which one
// that is.
func Newly(service *servingv1.Service) string {
	configuration := service.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)
	if service.Status.ObservedGeneration != service.Generation || configuration == nil || configuration.Reason == notReconciled {
		return ""
	}
	return service.Status.LatestCreatedRevisionName
}

// notReconciled is the reason by which Knative says that the revision of a Service's
// template is still to be made (ServiceStatus.MarkConfigurationNotReconciled).
const notReconciled = "OutOfDate"

// pinned is the traffic of an existing Service whose template is about to change: what
// serves goes on serving, by its name, whatever the new revision does.
func pinned(existing *servingv1.Service) servingv1.RouteSpec {
	if !Floats(existing) {
		pinned := *existing.Spec.RouteSpec.DeepCopy()
		if !slices.ContainsFunc(pinned.Traffic, isNewest) {
			pinned.Traffic = append(pinned.Traffic, Newest())
		}
		return pinned
	}
	split := Split(existing)
	if len(split) == 0 {
		return servingv1.RouteSpec{}
	}
	var traffic []servingv1.TrafficTarget
	for _, name := range slices.Sorted(maps.Keys(split)) {
		traffic = append(traffic, Named(name, split[name], ""))
	}
	return servingv1.RouteSpec{Traffic: append(traffic, Newest())}
}

func isNewest(t servingv1.TrafficTarget) bool { return equality.Semantic.DeepEqual(t, Newest()) }

// StartWith makes the next revision of a Service start with as many replicas, within its
// bound. The cluster is the number that Knative starts with where the Model says none.
func StartWith(service *servingv1.Service, replicas, cluster int32) {
	annotations := service.Spec.Template.Annotations
	if most := scale(annotations, autoscaling.MaxScaleAnnotationKey); most > 0 {
		replicas = min(replicas, most)
	}
	starts := cluster
	if _, set := annotations[autoscaling.InitialScaleAnnotationKey]; set {
		starts = scale(annotations, autoscaling.InitialScaleAnnotationKey)
	}
	if replicas > starts {
		annotations[autoscaling.InitialScaleAnnotationKey] = strconv.Itoa(int(replicas))
	}
}

// MinReplicas are kept of every revision of the Model that is routed to: as many as it
// says or, where it says nothing, as the cluster does.
func MinReplicas(m *v1alpha1.Model, cluster int32) int32 {
	annotations := m.AutoscalingAnnotations()
	if _, set := annotations[autoscaling.MinScaleAnnotationKey]; !set {
		return cluster
	}
	return scale(annotations, autoscaling.MinScaleAnnotationKey)
}

// Floor is what a revision is held at: what the demand calls for, which the limiter tells
// with Knative's own autoscaler in mind, and what the rollout keeps. What names no class has
// an autoscaler of the one that is unnamed.
func Floor(m *v1alpha1.Model, revision, unnamed string, needed, kept int32) v1alpha1.RevisionFloor {
	if v1alpha1.AutoscalerClass(m.AutoscalingAnnotations(), unnamed) != autoscaling.KPA {
		needed = 0
	}
	return v1alpha1.RevisionFloor{RevisionName: revision, Demand: needed, Rollout: kept}
}

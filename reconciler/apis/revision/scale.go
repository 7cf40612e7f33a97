// Package revision reads the scale of a Knative revision off the objects that
// show it. Those who tell of a change and those who follow it agree through it.
package revision

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"
)

// Endpoints selects the EndpointSlices that hold a revision's own replicas: those of its
// private Service, since its public one may have the activator's instead. They are chosen
// by the Service's name, of which there is one, and not by labels, which anybody can give
// a Service in the namespace.
func Endpoints(revision string) labels.Selector {
	return labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: names.PrivateService(revision)})
}

// WithEndpoints is the revision whose own replicas an EndpointSlice holds, "" if it holds
// none's. A long name can't be read off the Service's, where it is hashed; the slice has it
// as a label, from the Service.
func WithEndpoints(s *discoveryv1.EndpointSlice) string {
	revision := s.Labels[serving.RevisionLabelKey]
	if revision == "" || s.Labels[discoveryv1.LabelServiceName] != names.PrivateService(revision) {
		return ""
	}
	return revision
}

// Ready counts the distinct ready addresses in a revision's EndpointSlices.
func Ready(slices []*discoveryv1.EndpointSlice) int32 {
	addresses := sets.New[string]()
	for _, s := range slices {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				addresses.Insert(e.Addresses...)
			}
		}
	}
	return int32(addresses.Len())
}

// Desired is what the autoscaler decided; what it has not decided yet counts as
// what is ready.
func Desired(pa *autoscalingv1alpha1.PodAutoscaler, ready int32) int32 {
	if d := pa.Status.DesiredScale; d != nil && *d >= 0 {
		return *d
	}
	return ready
}

// Max is the revision's bound on replicas, which may be the cluster's; 0 means none.
func Max(pa *autoscalingv1alpha1.PodAutoscaler, cluster *autoscalerconfig.Config) int32 {
	_, most := pa.ScaleBounds(cluster)
	return max(0, most)
}

// FromZero is how many replicas the first request to none starts: at least 1. The
// autoscaler wants one, or the activation scale (serving pkg/autoscaler/scaling, Scale),
// and what it wants is held to the bounds (serving pkg/reconciler/autoscaling/kpa, scale).
// The initial scale counts until a revision was ready once.
func FromZero(pa *autoscalingv1alpha1.PodAutoscaler, cluster *autoscalerconfig.Config) int32 {
	least, most := pa.ScaleBounds(cluster)
	if !pa.Status.IsScaleTargetInitialized() && pa.Spec.Reachability != autoscalingv1alpha1.ReachabilityUnreachable {
		least = max(least, Initial(pa, cluster))
	}
	n := int32(1)
	if activation, ok := pa.ActivationScale(); ok {
		n = max(n, activation)
	}
	if most > 0 {
		n = min(n, most)
	}
	return max(n, least)
}

// Initial is how many replicas a revision starts with when it is made (serving
// pkg/reconciler/autoscaling/kpa/resources, GetInitialScale).
func Initial(pa *autoscalingv1alpha1.PodAutoscaler, cluster *autoscalerconfig.Config) int32 {
	own, ok := pa.InitialScale()
	if !ok || own == 0 && !cluster.AllowZeroInitialScale {
		return cluster.InitialScale
	}
	return own
}

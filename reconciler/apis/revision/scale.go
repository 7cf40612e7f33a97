// Package revision reads the scale of a Knative revision off the objects that
// show it. Those who tell of a change and those who follow it agree through it.
package revision

import (
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
)

// private ends the name of the Service that has a revision's own replicas. Its public
// Service may have the activator's instead.
const private = "-private"

// Endpoints selects the EndpointSlices that hold a revision's own replicas.
func Endpoints(revision string) labels.Selector {
	return labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: revision + private})
}

// WithEndpoints is the revision whose own replicas an EndpointSlice holds, "" if it holds
// none's.
func WithEndpoints(s *discoveryv1.EndpointSlice) string {
	name, ok := strings.CutSuffix(s.Labels[discoveryv1.LabelServiceName], private)
	if !ok {
		return ""
	}
	return name
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

// Max is the revision's bound on replicas; 0 means none.
func Max(pa *autoscalingv1alpha1.PodAutoscaler) int32 {
	return scale(pa, autoscaling.MaxScaleAnnotation, 0)
}

// FromZero is how many replicas the revision starts when it has none: at least 1.
func FromZero(pa *autoscalingv1alpha1.PodAutoscaler) int32 {
	return max(1, scale(pa, autoscaling.InitialScaleAnnotation, 1), scale(pa, autoscaling.ActivationScale, 1))
}

// scale reads a number from an autoscaler's annotations; Knative's webhook has
// refused those that are not one.
func scale(pa *autoscalingv1alpha1.PodAutoscaler, annotation kmap.KeyPriority, unset int32) int32 {
	n, err := strconv.ParseInt(annotation.Value(pa.Annotations), 10, 32)
	if err != nil || n < 0 {
		return unset
	}
	return int32(n)
}

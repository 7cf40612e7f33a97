package resources

import (
	"strconv"
	"strings"

	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// AutoscalingAnnotations is the effective set of autoscaling.knative.dev
// annotations of a Model: its spec, over which its own annotations win.
func AutoscalingAnnotations(m *v1alpha1.Model) map[string]string { return m.AutoscalingAnnotations() }

// AutoscalingPatch is what to change in the annotations of a live revision so that
// it scales as the Model says: a nil value removes a key. It is empty where nothing
// is to be done, and holds autoscaling.knative.dev keys only, because any other
// key would reach the pod template and restart the revision's pods.
//
// Its min-scale is the Model's, or a floor that is higher, but within the max-scale.
// The autoscaler's class and the initial scale are left as the revision was made
// with: neither takes effect on a living one. A revision of another class than the
// Model asks for is left alone, since the keys mean something else to it.
func AutoscalingPatch(m *v1alpha1.Model, revision *servingv1.Revision, floor int32) map[string]*string {
	patch := map[string]*string{}
	wanted := AutoscalingAnnotations(m)
	if class(wanted) != class(revision.Annotations) {
		return patch
	}
	if scales := class(wanted); scales == autoscaling.KPA || scales == autoscaling.HPA {
		raise(wanted, floor)
	}
	for key, value := range wanted {
		if current, ok := revision.Annotations[key]; !fixed(key) && (!ok || current != value) {
			patch[key] = &value
		}
	}
	for key := range revision.Annotations {
		if _, ok := wanted[key]; !ok && !fixed(key) && strings.HasPrefix(key, v1alpha1.AutoscalingPrefix) {
			patch[key] = nil
		}
	}
	return patch
}

// raise raises the min-scale to a floor.
func raise(annotations map[string]string, floor int32) {
	if most := scale(annotations, autoscaling.MaxScaleAnnotationKey); most > 0 {
		floor = min(floor, most)
	}
	if floor > scale(annotations, autoscaling.MinScaleAnnotationKey) {
		annotations[autoscaling.MinScaleAnnotationKey] = strconv.Itoa(int(floor))
	}
}

// scale is a number of replicas in an annotation, 0 without.
func scale(annotations map[string]string, key string) int32 {
	n, err := strconv.ParseInt(annotations[key], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func class(annotations map[string]string) string {
	if class := annotations[autoscaling.ClassAnnotationKey]; class != "" {
		return class
	}
	return autoscaling.KPA
}

// fixed keys are settled when a revision is made.
func fixed(key string) bool {
	if key == autoscaling.ClassAnnotationKey {
		return true
	}
	for _, spelling := range autoscaling.InitialScaleAnnotation {
		if key == spelling {
			return true
		}
	}
	return false
}

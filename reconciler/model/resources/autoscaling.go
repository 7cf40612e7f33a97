package resources

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Scaled is a revision, and the class of its autoscaler if it names none.
type Scaled struct {
	*servingv1.Revision
	Unnamed string
}

// Unnamed is the class of a revision that names none, by its PodAutoscaler, nil for none
// yet: Knative gives that the cluster's as it makes it, and leaves it what it has.
func Unnamed(autoscaler *autoscalingv1alpha1.PodAutoscaler, cluster string) string {
	if autoscaler == nil {
		return cluster
	}
	return v1alpha1.AutoscalerClass(autoscaler.Annotations, cluster)
}

func (s Scaled) class() string { return v1alpha1.AutoscalerClass(s.Annotations, s.Unnamed) }

// OfClass has the template of a Model's Service say nothing that is for Knative's own
// autoscaler where the cluster gives what names none one of another class.
func OfClass(m *v1alpha1.Model, service *servingv1.Service, cluster string) {
	wanted := m.AutoscalingAnnotationsBy(cluster)
	maps.DeleteFunc(service.Spec.Template.Annotations, func(key, _ string) bool {
		_, ok := wanted[key]
		return key == autoscaling.MetricAnnotationKey && !ok
	})
}

// AutoscalingPatch is what to change in the annotations of a live revision so that
// it scales as the Model says: a nil value removes a key. It is empty where nothing
// is to be done, and holds autoscaling.knative.dev keys only, because any other
// key would reach the pod template and restart the revision's pods.
//
// Its min-scale is the Model's, or a floor that is higher, but within the max-scale.
// What takes no effect on a living revision, as the class and the scale-down delay, is left
// as it was made with. A revision of another class than the
// Model asks for is left alone but for its floor, since the keys mean something else to it.
func AutoscalingPatch(m *v1alpha1.Model, revision Scaled, floor int32) map[string]*string {
	patch := map[string]*string{}
	wanted := m.AutoscalingAnnotationsBy(revision.Unnamed)
	if v1alpha1.AutoscalerClass(wanted, revision.Unnamed) != revision.class() {
		return FloorPatch(m, revision, floor)
	}
	if revision.hasMinScale() {
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

// FloorPatch is what to change of a revision's min-scale alone: it is as AutoscalingPatch
// makes it, within the max-scale that the revision has.
func FloorPatch(m *v1alpha1.Model, revision Scaled, floor int32) map[string]*string {
	patch := map[string]*string{}
	if !revision.hasMinScale() {
		return patch
	}
	least := max(MinReplicas(m, 0), floor)
	if most := scale(revision.Annotations, autoscaling.MaxScaleAnnotationKey); most > 0 {
		least = min(least, most)
	}
	switch value := strconv.Itoa(int(least)); {
	case least == scale(revision.Annotations, autoscaling.MinScaleAnnotationKey):
	case least == 0:
		patch[autoscaling.MinScaleAnnotationKey] = nil
	default:
		patch[autoscaling.MinScaleAnnotationKey] = &value
	}
	if outdone(revision.Annotations, least) {
		patch[autoscaling.ActivationScaleKey] = nil
	}
	return patch
}

// Bounded is a patch that holds a revision to the most replicas that the Model may have,
// whatever its annotations say, and whatever class they say it has: its autoscaler's is
// the one that it was made with. Knative refuses a bound that other annotations are above,
// so these come down with it.
func Bounded(patch map[string]*string, revision *servingv1.Revision, most int64) map[string]*string {
	_, patched := patch[autoscaling.MaxScaleAnnotationKey]
	if patched || v1alpha1.MaxReplicasOf(revision.Annotations) <= most {
		return patch
	}
	value := strconv.FormatInt(most, 10)
	patch[autoscaling.MaxScaleAnnotationKey] = &value
	after := patchedWith(revision.Annotations, patch)
	if int64(scale(after, autoscaling.MinScaleAnnotationKey)) > most {
		patch[autoscaling.MinScaleAnnotationKey] = &value
	}
	if int64(scale(after, autoscaling.ActivationScaleKey)) > most {
		patch[autoscaling.ActivationScaleKey] = nil
	}
	return patch
}

func patchedWith(annotations map[string]string, patch map[string]*string) map[string]string {
	after := kmeta.FilterMap(annotations, func(key string) bool { _, patched := patch[key]; return patched })
	for key, value := range patch {
		if value != nil {
			after[key] = *value
		}
	}
	return after
}

// ReleasePatch takes back what a revision was held at that nothing is routed to. Knative
// ignores its min-scale, until something is again; of one that never was, it doesn't.
func ReleasePatch(m *v1alpha1.Model, revision Scaled) map[string]*string {
	if scale(revision.Annotations, autoscaling.MinScaleAnnotationKey) <= MinReplicas(m, 0) {
		return nil
	}
	return FloorPatch(m, revision, 0)
}

// Behind are the autoscaling annotations of a revision that its PodAutoscaler, which scales
// it, hasn't got, or has and the revision hasn't; sorted. What Knative gives a PodAutoscaler
// by itself doesn't count.
func Behind(revision *servingv1.Revision, autoscaler *autoscalingv1alpha1.PodAutoscaler) []string {
	var behind []string
	for key, value := range revision.Annotations {
		if has, ok := autoscaler.Annotations[key]; strings.HasPrefix(key, v1alpha1.AutoscalingPrefix) && has != value && (ok || !defaulted(key)) {
			behind = append(behind, key)
		}
	}
	for key := range autoscaler.Annotations {
		if _, ok := revision.Annotations[key]; strings.HasPrefix(key, v1alpha1.AutoscalingPrefix) && !ok && !defaulted(key) {
			behind = append(behind, key)
		}
	}
	slices.Sort(behind)
	return behind
}

// defaulted keys are given to a PodAutoscaler that lacks them (serving
// pkg/reconciler/revision, defaultKPAAnnotations).
func defaulted(key string) bool {
	return slices.Contains(autoscaling.ClassAnnotation, key) || slices.Contains(autoscaling.MetricAnnotation, key)
}

// hasMinScale is true of the classes that know what a min-scale is.
func (s Scaled) hasMinScale() bool {
	of := s.class()
	return of == autoscaling.KPA || of == autoscaling.HPA
}

// outdone is true of an activation scale below the min-scale. Knative refuses it; it has no
// effect beside one that it isn't above.
func outdone(annotations map[string]string, least int32) bool {
	activation, err := strconv.ParseInt(annotations[autoscaling.ActivationScaleKey], 10, 32)
	return err == nil && int32(activation) < least
}

// raise raises the min-scale to a floor.
func raise(annotations map[string]string, floor int32) {
	if most := scale(annotations, autoscaling.MaxScaleAnnotationKey); most > 0 {
		floor = min(floor, most)
	}
	if floor > scale(annotations, autoscaling.MinScaleAnnotationKey) {
		annotations[autoscaling.MinScaleAnnotationKey] = strconv.Itoa(int(floor))
		if outdone(annotations, floor) {
			delete(annotations, autoscaling.ActivationScaleKey)
		}
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

// fixed keys are settled when a revision is made. To write another value on a living one
// would have it say what it doesn't do, until Knative's autoscaler starts anew.
func fixed(key string) bool { return v1alpha1.AutoscalingSettled(key) != "" }

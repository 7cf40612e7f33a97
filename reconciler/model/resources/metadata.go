package resources

import (
	"maps"
	"slices"
	"strings"

	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/metadata"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// leftOut begins the hash of metadata that the template of a Service doesn't have: it was
// built before Sluice handed any on, and gets them with its next revision.
const leftOut = "left-out-"

// replicaMetadata is what a Model's template has beside our own: what its replicas are to
// have of its labels and annotations, and its autoscaling.
func replicaMetadata(m *v1alpha1.Model, autoscaling map[string]string) metadata.Set {
	of := metadata.ForReplicas(m)
	return metadata.Set{Labels: of.Labels, Annotations: kmeta.UnionMaps(of.Annotations, autoscaling)}
}

// restoredMetadata is what the template of an existing Service was built with.
func restoredMetadata(m *v1alpha1.Model, existing *servingv1.Service, autoscaling map[string]string) metadata.Set {
	if !strings.HasPrefix(existing.Annotations[sluice.TemplateMetadataAnnotationKey], hashForm1) {
		return metadata.Set{Annotations: autoscaling}
	}
	return replicaMetadata(m, autoscaling)
}

func metadataHash(m *v1alpha1.Model) string {
	of := metadata.ForReplicas(m)
	return hashForm1 + digest(canonicalFields(map[string]any{"labels": of.Labels, "annotations": of.Annotations}))
}

// metadataIsOf is true when a Service's template was built from the labels and annotations
// that its Model has now, or these are as when Sluice began to hand them on: an upgrade
// makes no revision.
func metadataIsOf(m *v1alpha1.Model, service *servingv1.Service) bool {
	built, known := service.Annotations[sluice.TemplateMetadataAnnotationKey]
	return !known || strings.TrimPrefix(built, leftOut) == metadataHash(m)
}

// adoptMetadata remembers what the template of a Service that was built before does
// without.
func adoptMetadata(m *v1alpha1.Model, service *servingv1.Service) {
	if _, known := service.Annotations[sluice.TemplateMetadataAnnotationKey]; known {
		return
	}
	hash := metadataHash(m)
	if !metadata.ForReplicas(m).Empty() {
		hash = leftOut + hash
	}
	service.Annotations = kmeta.UnionMaps(service.Annotations, map[string]string{sluice.TemplateMetadataAnnotationKey: hash})
}

// handOn gives a Service the labels and annotations of its Model that mean something there,
// among those of others, and takes back those that the Model has no more.
func handOn(m *v1alpha1.Model, service *servingv1.Service) {
	of := metadata.ForService(m)
	had := service.Annotations
	service.Labels = exchange(service.Labels, had[sluice.HandedLabelsAnnotationKey], of.Labels)
	service.Annotations = exchange(had, had[sluice.HandedAnnotationsAnnotationKey], of.Annotations)
	note(service.Annotations, sluice.HandedLabelsAnnotationKey, of.Labels)
	note(service.Annotations, sluice.HandedAnnotationsAnnotationKey, of.Annotations)
}

const keySeparator = ","

// exchange is all without what was handed on before, and with what is now.
func exchange(all map[string]string, before string, now map[string]string) map[string]string {
	kept := kmeta.FilterMap(all, func(key string) bool { return slices.Contains(strings.Split(before, keySeparator), key) })
	return kmeta.UnionMaps(kept, now)
}

func note(annotations map[string]string, key string, handed map[string]string) {
	if len(handed) == 0 {
		delete(annotations, key)
		return
	}
	annotations[key] = strings.Join(slices.Sorted(maps.Keys(handed)), keySeparator)
}

package resources

import (
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/metadata"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Service is the Knative Service of a Model that has none yet. Here and below, t is
// the Tenant that holds the Model's namespace; nil for none.
func Service(m *v1alpha1.Model, t *v1alpha1.Tenant) *servingv1.Service {
	return RebuildService(m, t, EmptyService(m))
}

// EmptyService is a Knative Service that a Model will own, without all that makes it
// one.
func EmptyService(m *v1alpha1.Model) *servingv1.Service {
	return &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name:            m.Name,
			Namespace:       m.Namespace,
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(m)},
		},
	}
}

// RebuildService is the existing Service with the template that the Model asks for
// now, its autoscaling included. It makes a new revision, which gets no requests yet.
func RebuildService(m *v1alpha1.Model, t *v1alpha1.Tenant, existing *servingv1.Service) *servingv1.Service {
	out := LabelService(m, t, existing)
	out.Annotations[sluice.TemplateHashAnnotationKey] = TemplateHash(m)
	out.Annotations[sluice.TemplateMetadataAnnotationKey] = metadataHash(m)
	out.Spec = serviceSpec(m, replicaMetadata(m, m.AutoscalingAnnotations()))
	out.Spec.RouteSpec = pinned(existing)
	startWithin(m, out)
	addWarmUp(m, out)
	return out
}

// RestoreService is the existing Service without what others changed in its template.
// The Model is the one it was built from, so the autoscaling that the template was
// built with is kept: tuning has moved on since, and writing today's would make a
// revision where nobody had changed anything.
func RestoreService(m *v1alpha1.Model, t *v1alpha1.Tenant, existing *servingv1.Service) *servingv1.Service {
	out := LabelService(m, t, existing)
	autoscaling := maps.Clone(existing.Spec.Template.Annotations)
	maps.DeleteFunc(autoscaling, func(key, _ string) bool { return !strings.HasPrefix(key, v1alpha1.AutoscalingPrefix) })
	out.Spec = serviceSpec(m, restoredMetadata(m, existing, autoscaling))
	out.Spec.RouteSpec = pinned(existing)
	startWithin(m, out)
	addWarmUp(m, out)
	return out
}

// LabelService is the existing Service with the labels and annotations of its own
// that Sluice relies on, and those of its Model that mean something there. It leaves the
// spec, and so the revision, alone. Knative hands them on to the Route, whose domain its
// config-domain selects by them.
func LabelService(m *v1alpha1.Model, t *v1alpha1.Tenant, existing *servingv1.Service) *servingv1.Service {
	out := existing.DeepCopy()
	handOn(m, out)
	out.Labels = relabel(out.Labels, m, t)
	out.Annotations = kmeta.UnionMaps(out.Annotations, map[string]string{
		networking.IngressClassAnnotationAltKey: sluice.IngressClassName,
	})
	// Knative reads the class under an older key first.
	delete(out.Annotations, networking.IngressClassAnnotationKey)
	adoptMetadata(m, out)
	if m.Spec.SplitBy != nil {
		out.Annotations[sluice.SplitByAnnotationKey] = m.Spec.SplitBy.String()
	} else {
		delete(out.Annotations, sluice.SplitByAnnotationKey)
	}
	return out
}

// serviceSpec has no traffic yet.
func serviceSpec(m *v1alpha1.Model, replicas metadata.Set) servingv1.ServiceSpec {
	return servingv1.ServiceSpec{
		ConfigurationSpec: servingv1.ConfigurationSpec{
			Template: servingv1.RevisionTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      kmeta.UnionMaps(replicas.Labels, map[string]string{sluice.ModelLabelKey: m.Name}),
					Annotations: replicas.Annotations,
				},
				Spec: m.Spec.RevisionSpec(),
			},
		},
	}
}

// startWithin says how long a revision may take until it is ready, where its Model does, or
// has it warmed up: that takes its time after all that a start may take anyway.
func startWithin(m *v1alpha1.Model, service *servingv1.Service) {
	deadline := m.ProgressDeadline()
	if w := m.Spec.WarmUp; w != nil {
		deadline = max(startFor, WarmUpPinsOf(service).StartWithin, deadline) + w.Timeout.Round(time.Second)
	}
	if deadline == 0 {
		return
	}
	template := &service.Spec.Template
	template.Annotations = kmeta.UnionMaps(template.Annotations, map[string]string{serving.ProgressDeadlineAnnotationKey: deadline.String()})
}

// Labels are on every object that a Model owns.
func Labels(m *v1alpha1.Model, t *v1alpha1.Tenant) map[string]string {
	labels := map[string]string{
		sluice.ModelLabelKey:     m.Name,
		sluice.ManagedByLabelKey: sluice.ManagedBy,
	}
	if t != nil {
		labels[sluice.TenantLabelKey] = t.Name
	}
	return labels
}

// relabel puts our labels among those of others; that of a tenant that has let the
// namespace go is no longer one of ours.
func relabel(labels map[string]string, m *v1alpha1.Model, t *v1alpha1.Tenant) map[string]string {
	others := kmeta.FilterMap(labels, func(key string) bool { return key == sluice.TenantLabelKey })
	return kmeta.UnionMaps(others, Labels(m, t))
}

package v1alpha1

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/metadata"
)

// warnOfSettled warns of a change that the revisions that are there don't take up, unless the
// same write makes another. Of the class, warnOfChanges warns.
func (m *Model) warnOfSettled(ctx context.Context, before *Model) *apis.FieldError {
	if before.Status.ServiceGeneration == 0 || m.makesRevision(before) || m.autoscalerClass(ctx) != autoscaling.KPA {
		return nil
	}
	was, now := before.AutoscalingAnnotations(), m.AutoscalingAnnotations()
	var warnings *apis.FieldError
	for _, l := range autoscalingLiveness {
		key := l.keys.Key()
		if l.settled == "" || key == autoscaling.ClassAnnotationKey || l.means(was[key], now[key]) {
			continue
		}
		// Where it was taken away, it is named as it was.
		path := m.autoscalingPath(key)
		if _, set := now[key]; !set {
			path = before.autoscalingPath(key)
		}
		warnings = warnings.Also(warning(fmt.Sprintf("takes effect with the next revision only (it was %s, is %s), as %s; whatever changes what the "+
			"Model runs makes one, and so does an annotation of your own: kubectl annotate model %s --overwrite example.com/release=2",
			quoted(was[key]), quoted(now[key]), l.settled, m.Name), path))
	}
	return warnings
}

// makesRevision tells whether a change makes a revision, as far as can be told from the Model
// alone.
func (m *Model) makesRevision(before *Model) bool {
	return !equality.Semantic.DeepEqual(m.Spec.RevisionSpec(), before.Spec.RevisionSpec()) ||
		!equality.Semantic.DeepEqual(m.Spec.WarmUp, before.Spec.WarmUp) ||
		m.ProgressDeadline() != before.ProgressDeadline() ||
		!equality.Semantic.DeepEqual(metadata.ForReplicas(m), metadata.ForReplicas(before))
}

package v1alpha1

import (
	"context"

	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/metadata"
)

// validateMetadata refuses labels and annotations that can't be honoured, and warns of
// those that do nothing. One that was there before it was refused doesn't keep the rest of
// the Model from being changed.
func (m *Model) validateMetadata(ctx context.Context) *apis.FieldError {
	var before map[metadata.Kind]map[string]string
	if baseline, ok := apis.GetBaseline(ctx).(*Model); ok && apis.IsInUpdate(ctx) {
		before = metadataOf(baseline)
	}
	now := metadataOf(m)
	var errs *apis.FieldError
	for _, r := range metadata.Remarks(m) {
		was, there := before[r.Kind][r.Key]
		if r.Refused && (!there || was != now[r.Kind][r.Key]) {
			errs = errs.Also(invalid(r.Path(), "%s", r.Why))
			continue
		}
		errs = errs.Also(warning(r.Why, r.Path()))
	}
	return errs
}

func metadataOf(m *Model) map[metadata.Kind]map[string]string {
	return map[metadata.Kind]map[string]string{metadata.Label: m.Labels, metadata.Annotation: m.Annotations}
}

package v1alpha1

import (
	"context"
	"slices"

	"knative.dev/pkg/apis"
)

// RefuseTuning says why the Model wouldn't be let in as it is, had it been as before, where
// the two differ in how they are tuned: what Validate refuses of spec.autoscaling, spec.limit,
// the annotations and the tenant's caps. What it refuses of the one before as well is left out.
func (m *Model) RefuseTuning(ctx context.Context, before *Model) *apis.FieldError {
	ctx = apis.WithinUpdate(ctx, before)
	errs := m.validateMetadata(ctx).Also(m.validateCaps(ctx))
	for _, e := range refusedAnew(m.validateTunable(ctx), before.validateTunable(ctx)) {
		errs = errs.Also(e)
	}
	return errs.Filter(apis.ErrorLevel)
}

// refusedAnew are the errors and warnings of now that aren't before's.
func refusedAnew(now, before *apis.FieldError) []*apis.FieldError {
	known := map[string]bool{}
	for _, e := range before.WrappedErrors() {
		known[e.Error()] = true
	}
	return slices.DeleteFunc(slices.Clone(now.WrappedErrors()), func(e *apis.FieldError) bool { return known[e.Error()] })
}

package v1alpha1

import (
	"context"

	"knative.dev/pkg/apis"
)

// Validate implements apis.Validatable.
func (m *Model) Validate(context.Context) *apis.FieldError { return nil }

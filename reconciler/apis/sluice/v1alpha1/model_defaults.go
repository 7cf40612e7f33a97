package v1alpha1

import "context"

// SetDefaults implements apis.Defaultable.
func (m *Model) SetDefaults(context.Context) {}

package v1alpha1

import (
	"context"
	"fmt"

	"knative.dev/pkg/apis"
)

// Neighbours finds the Tenant of a namespace and all Models of that Tenant; nil and
// none where nobody holds the namespace.
type Neighbours func(namespace string) (*Tenant, []*Model, error)

type neighboursKey struct{}

// WithNeighbours lets Model.Validate see what a Model shares with others.
func WithNeighbours(ctx context.Context, neighbours Neighbours) context.Context {
	return context.WithValue(ctx, neighboursKey{}, neighbours)
}

// validateCaps refuses what is more than the tenant may have, as far as the Models
// that are known here tell. What two writes at once let through, the Model's
// reconciler holds back by the same rule.
func (m *Model) validateCaps(ctx context.Context) *apis.FieldError {
	neighbours, ok := ctx.Value(neighboursKey{}).(Neighbours)
	if !ok {
		return nil
	}
	tenant, models, err := neighbours(m.Namespace)
	if err != nil {
		return apis.ErrGeneric(fmt.Sprintf("the tenant's caps can't be checked: %v", err), "metadata.namespace")
	}
	claim := CapClaim{Model: m}
	if before, ok := apis.GetBaseline(ctx).(*Model); ok && apis.IsInUpdate(ctx) {
		had := before.ClaimedReplicas()
		claim.InForce = &had
	}
	admitted := make([]CapClaim, 0, len(models))
	for _, model := range models {
		// What was admitted counts, whether or not it runs already.
		has := model.ClaimedReplicas()
		admitted = append(admitted, CapClaim{Model: model, InForce: &has})
	}
	return tenant.RefuseGrowth(claim, admitted).Also(m.warnOfCap(tenant))
}

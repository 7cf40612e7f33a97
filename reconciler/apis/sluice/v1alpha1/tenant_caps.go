package v1alpha1

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"knative.dev/pkg/apis"
)

// ReasonTenantCapped is the reason by which an Ingress in a namespace of the tenant isn't
// served, because no cap could be held there: it is no Model's.
const ReasonTenantCapped = "TenantCapped"

// HasCaps tells whether the tenant, which may be nil, caps anything of its Models.
func (t *Tenant) HasCaps() bool { return t != nil && t.Spec.Limits != TenantLimits{} }

// Uncapped names the Knative Routes of some namespaces, "<namespace>/<name>", that are
// served and no Models'.
type Uncapped func(ctx context.Context, namespaces []string) ([]string, error)

type uncappedKey struct{}

// WithUncapped lets Tenant.Validate see what its caps would leave unserved.
func WithUncapped(ctx context.Context, uncapped Uncapped) context.Context {
	return context.WithValue(ctx, uncappedKey{}, uncapped)
}

// warnOfUncapped warns of what is served and would not be any more once the tenant has
// caps, or these namespaces. That it can't be told refuses nothing.
func (t *Tenant) warnOfUncapped(ctx context.Context) *apis.FieldError {
	uncapped, ok := ctx.Value(uncappedKey{}).(Uncapped)
	if !ok || !t.HasCaps() {
		return nil
	}
	namespaces := slices.Clone(t.Spec.Namespaces.Names)
	for _, held := range t.Status.Namespaces {
		namespaces = append(namespaces, held.Name)
	}
	if before, ok := apis.GetBaseline(ctx).(*Tenant); ok && before.HasCaps() {
		namespaces = slices.DeleteFunc(namespaces, before.Holds)
	}
	names, err := uncapped(ctx, namespaces)
	if err != nil || len(names) == 0 {
		return nil //nolint:nilerr // a warning less
	}
	slices.Sort(names)
	return warning(fmt.Sprintf("only Models can be held to caps: %d other Knative Services or Routes are served in these namespaces by our ingress class "+
		"and will not be any more: %s", len(names), strings.Join(names[:min(maxNamed, len(names))], ", ")), "spec.limits")
}

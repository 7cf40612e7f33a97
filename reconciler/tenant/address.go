package tenant

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// reconcileAddress keeps the tenant's Services and marks AddressReady. Which gateway
// they select is the status', except while the address is being switched.
func (r *Reconciler) reconcileAddress(ctx context.Context, t *v1alpha1.Tenant, p *pass) error {
	selects := t.Status.Gateway
	if selects == "" {
		selects = gateway.Shared
	}
	services, err := r.ensureServices(ctx, t, selects)
	if err != nil {
		t.Status.MarkAddressNotWritten(err)
		return err
	}
	p.services = services
	external, local := services[0], services[1]
	t.Status.MarkAddress(external.Name, resources.Address(external), network.GetServiceHostname(local.Name, local.Namespace))
	return nil
}

func (r *Reconciler) ensureServices(ctx context.Context, t *v1alpha1.Tenant, selects string) ([]*corev1.Service, error) {
	kind := r.serviceKind(ctx, t)
	if move := t.Status.Move; move != nil && move.Phase == v1alpha1.MoveSwitching {
		kind.Adopt = keepSelector(kind.Adopt)
	}
	return r.writeServices(ctx, kind, resources.Services(t, selects))
}

// selectGateway has both Services select the pods of a gateway.
func (r *Reconciler) selectGateway(ctx context.Context, t *v1alpha1.Tenant, name string) error {
	_, err := r.writeServices(ctx, r.serviceKind(ctx, t), resources.Services(t, name))
	return err
}

func (*Reconciler) writeServices(ctx context.Context, kind accessor.Kind[*corev1.Service], desired []*corev1.Service) ([]*corev1.Service, error) {
	var out []*corev1.Service
	for _, service := range desired {
		kept, _, err := kind.Ensure(ctx, service)
		if err != nil {
			return nil, err
		}
		out = append(out, kept)
	}
	return out, nil
}

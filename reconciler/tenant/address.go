package tenant

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/network"

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
		kind.adopt = keepSelector
	}
	return r.writeServices(ctx, kind, resources.Services(t, selects))
}

// selectGateway has both Services select the pods of a gateway.
func (r *Reconciler) selectGateway(ctx context.Context, t *v1alpha1.Tenant, name string) error {
	_, err := r.writeServices(ctx, r.serviceKind(ctx, t), resources.Services(t, name))
	return err
}

func (*Reconciler) writeServices(ctx context.Context, kind kind[*corev1.Service], desired []*corev1.Service) ([]*corev1.Service, error) {
	var out []*corev1.Service
	for _, service := range desired {
		kept, err := kind.ensure(ctx, service)
		if err != nil {
			return nil, err
		}
		out = append(out, kept)
	}
	return out, nil
}

// serviceKind reads Services from the API server while a move is under way: what a
// cache says of their selectors may be older than the status.
func (r *Reconciler) serviceKind(ctx context.Context, t *v1alpha1.Tenant) kind[*corev1.Service] {
	client := r.kube.CoreV1().Services(gateway.Namespace)
	get := r.services.Services(gateway.Namespace).Get
	if t.Status.Move != nil {
		get = func(name string) (*corev1.Service, error) { return client.Get(ctx, name, metav1.GetOptions{}) }
	}
	return kind[*corev1.Service]{name: "Service", get: get, writer: client, adopt: adoptService}
}

// adoptService leaves the address, node ports and families, which are the cluster's
// to choose.
func adoptService(existing, desired *corev1.Service) (*corev1.Service, bool) {
	adopted := existing.DeepCopy()
	adopted.Spec.Type, adopted.Spec.Selector = desired.Spec.Type, desired.Spec.Selector
	chosen := map[string]int32{}
	for _, port := range existing.Spec.Ports {
		chosen[port.Name] = port.NodePort
	}
	adopted.Spec.Ports = nil
	for _, port := range desired.Spec.Ports {
		port.NodePort = chosen[port.Name]
		adopted.Spec.Ports = append(adopted.Spec.Ports, port)
	}
	return adopted, !equality.Semantic.DeepEqual(existing.Spec, adopted.Spec)
}

func keepSelector(existing, desired *corev1.Service) (*corev1.Service, bool) {
	desired = desired.DeepCopy()
	desired.Spec.Selector = existing.Spec.Selector
	return adoptService(existing, desired)
}

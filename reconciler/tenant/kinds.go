package tenant

import (
	"context"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// owner is that of what is the tenant's in the gateways' namespace.
func owner(t *v1alpha1.Tenant) accessor.Owner {
	out := accessor.Labelled(resources.Labels(t.Name))
	out.Refusal = "is not this tenant's: delete it, or rename the tenant"
	return out
}

// serviceKind reads Services from the API server while a move is under way: what a
// cache says of their selectors may be older than the status.
func (r *Reconciler) serviceKind(ctx context.Context, t *v1alpha1.Tenant) accessor.Kind[*corev1.Service] {
	client := r.kube.CoreV1().Services(gateway.Namespace)
	get := r.services.Services(gateway.Namespace).Get
	if t.Status.Move != nil {
		get = func(name string) (*corev1.Service, error) { return client.Get(ctx, name, metav1.GetOptions{}) }
	}
	return accessor.Kind[*corev1.Service]{Name: "Service", Get: get, Client: client, Owner: owner(t), Content: accessor.Service()}
}

// keepSelector leaves it as it is which pods a Service selects.
func keepSelector(adopt func(existing, desired *corev1.Service)) func(existing, desired *corev1.Service) {
	return func(existing, desired *corev1.Service) {
		desired.Spec.Selector = existing.Spec.Selector
		adopt(existing, desired)
	}
}

func (r *Reconciler) serverKind(t *v1alpha1.Tenant) accessor.Kind[*istiov1.Gateway] {
	return accessor.Kind[*istiov1.Gateway]{
		Name:    "Gateway",
		Get:     r.istioGateways.Gateways(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1().Gateways(gateway.Namespace),
		Owner:   owner(t),
		Content: accessor.Message(func(g *istiov1.Gateway) *istioapi.Gateway { return &g.Spec }),
	}
}

func (r *Reconciler) secretKind(t *v1alpha1.Tenant) accessor.Kind[*corev1.Secret] {
	return accessor.Kind[*corev1.Secret]{
		Name:    "Secret",
		Get:     r.certificates.Secrets(gateway.Namespace).Get,
		Client:  r.kube.CoreV1().Secrets(gateway.Namespace),
		Owner:   owner(t),
		Content: accessor.Content[*corev1.Secret]{Adopt: func(existing, desired *corev1.Secret) { existing.Data = desired.Data }},
	}
}

package gateway

import (
	"context"
	"errors"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// owner is that of what is a gateway's.
func owner(gatewayName string) accessor.Owner {
	return accessor.Labelled(map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy, gateway.LabelKey: gatewayName})
}

// ensure has objects of a kind be as desired, in their order.
func ensure[T accessor.Object[T]](ctx context.Context, kind accessor.Kind[T], desired ...T) error {
	var errs []error
	for _, object := range desired {
		_, _, err := kind.Ensure(ctx, object)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *Reconciler) envoyFilterKind(gatewayName string) accessor.Kind[*istiov1alpha3.EnvoyFilter] {
	return accessor.Kind[*istiov1alpha3.EnvoyFilter]{
		Name:    "EnvoyFilter",
		Get:     r.envoyFilters.EnvoyFilters(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Message(func(f *istiov1alpha3.EnvoyFilter) *istioapi.EnvoyFilter { return &f.Spec }),
	}
}

// slotKind is for removal alone: of slots only the metadata is known here.
func (r *Reconciler) slotKind(gatewayName string) accessor.Kind[*istiov1alpha3.EnvoyFilter] {
	kind := r.envoyFilterKind(gatewayName)
	kind.Get = func(name string) (*istiov1alpha3.EnvoyFilter, error) {
		slot, err := r.slots.Get(name)
		if err != nil {
			return nil, err
		}
		return &istiov1alpha3.EnvoyFilter{ObjectMeta: slot.ObjectMeta}, nil
	}
	return kind
}

func (r *Reconciler) istioGatewayKind(gatewayName string) accessor.Kind[*istiov1.Gateway] {
	return accessor.Kind[*istiov1.Gateway]{
		Name:    "Gateway",
		Get:     r.gateways.Gateways(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1().Gateways(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Message(func(g *istiov1.Gateway) *istioapi.Gateway { return &g.Spec }),
	}
}

func (r *Reconciler) virtualServiceKind(gatewayName string) accessor.Kind[*istiov1.VirtualService] {
	return accessor.Kind[*istiov1.VirtualService]{
		Name:    "VirtualService",
		Get:     r.virtualServices.VirtualServices(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1().VirtualServices(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Message(func(vs *istiov1.VirtualService) *istioapi.VirtualService { return &vs.Spec }),
	}
}

func (r *Reconciler) serviceKind(gatewayName string) accessor.Kind[*corev1.Service] {
	return accessor.Kind[*corev1.Service]{
		Name:    "Service",
		Get:     r.services.Services(gateway.Namespace).Get,
		Client:  r.kube.CoreV1().Services(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Service(),
	}
}

func (r *Reconciler) serviceAccountKind(gatewayName string) accessor.Kind[*corev1.ServiceAccount] {
	return accessor.Kind[*corev1.ServiceAccount]{
		Name:   "ServiceAccount",
		Get:    r.serviceAccounts.ServiceAccounts(gateway.Namespace).Get,
		Client: r.kube.CoreV1().ServiceAccounts(gateway.Namespace),
		Owner:  owner(gatewayName),
		Content: accessor.Content[*corev1.ServiceAccount]{Adopt: func(existing, desired *corev1.ServiceAccount) {
			existing.AutomountServiceAccountToken = desired.AutomountServiceAccountToken
		}},
	}
}

func (r *Reconciler) budgetKind(gatewayName string) accessor.Kind[*policyv1.PodDisruptionBudget] {
	return accessor.Kind[*policyv1.PodDisruptionBudget]{
		Name:    "PodDisruptionBudget",
		Get:     r.budgets.PodDisruptionBudgets(gateway.Namespace).Get,
		Client:  r.kube.PolicyV1().PodDisruptionBudgets(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Defaulted(func(b *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &b.Spec }),
	}
}

func (r *Reconciler) autoscalerKind(gatewayName string) accessor.Kind[*autoscalingv2.HorizontalPodAutoscaler] {
	return accessor.Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Name:   "HorizontalPodAutoscaler",
		Get:    r.autoscalers.HorizontalPodAutoscalers(gateway.Namespace).Get,
		Client: r.kube.AutoscalingV2().HorizontalPodAutoscalers(gateway.Namespace),
		Owner:  owner(gatewayName),
		Content: accessor.Defaulted(func(a *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
			return &a.Spec
		}),
	}
}

func (r *Reconciler) deploymentKind(gatewayName string) accessor.Kind[*appsv1.Deployment] {
	return accessor.Kind[*appsv1.Deployment]{
		Name:    "Deployment",
		Get:     r.deployments.Deployments(gateway.Namespace).Get,
		Client:  r.kube.AppsV1().Deployments(gateway.Namespace),
		Owner:   owner(gatewayName),
		Content: accessor.Defaulted(func(d *appsv1.Deployment) *appsv1.DeploymentSpec { return &d.Spec }),
		// It is there until its pods have ended.
		Propagation: metav1.DeletePropagationForeground,
	}
}

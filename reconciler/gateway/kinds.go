package gateway

import (
	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func (r *Reconciler) envoyFilterKind() kind[*istiov1alpha3.EnvoyFilter] {
	return kind[*istiov1alpha3.EnvoyFilter]{
		name:   "EnvoyFilter",
		get:    r.envoyFilters.EnvoyFilters(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace),
		adopt:  func(existing, desired *istiov1alpha3.EnvoyFilter) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal: func(existing, desired *istiov1alpha3.EnvoyFilter) bool {
			return proto.Equal(&existing.Spec, &desired.Spec)
		},
		copy: (*istiov1alpha3.EnvoyFilter).DeepCopy,
	}
}

func (r *Reconciler) istioGatewayKind() kind[*istiov1.Gateway] {
	return kind[*istiov1.Gateway]{
		name:   "Gateway",
		get:    r.gateways.Gateways(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1().Gateways(gateway.Namespace),
		adopt:  func(existing, desired *istiov1.Gateway) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal:  func(existing, desired *istiov1.Gateway) bool { return proto.Equal(&existing.Spec, &desired.Spec) },
		copy:   (*istiov1.Gateway).DeepCopy,
	}
}

func (r *Reconciler) virtualServiceKind() kind[*istiov1.VirtualService] {
	return kind[*istiov1.VirtualService]{
		name:   "VirtualService",
		get:    r.virtualServices.VirtualServices(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1().VirtualServices(gateway.Namespace),
		adopt:  func(existing, desired *istiov1.VirtualService) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal: func(existing, desired *istiov1.VirtualService) bool {
			return proto.Equal(&existing.Spec, &desired.Spec)
		},
		copy: (*istiov1.VirtualService).DeepCopy,
	}
}

func (r *Reconciler) serviceKind() kind[*corev1.Service] {
	return kind[*corev1.Service]{
		name:   "Service",
		get:    r.services.Services(gateway.Namespace).Get,
		writer: r.kube.CoreV1().Services(gateway.Namespace),
		// The address, node ports and families are the cluster's to choose.
		adopt: func(existing, desired *corev1.Service) {
			existing.Spec.Type, existing.Spec.Selector = desired.Spec.Type, desired.Spec.Selector
			existing.Spec.Ports = withNodePorts(desired.Spec.Ports, existing.Spec.Ports)
		},
		equal: func(existing, desired *corev1.Service) bool {
			return covers(desired.Spec, existing.Spec) && len(existing.Spec.Selector) == len(desired.Spec.Selector)
		},
		copy: (*corev1.Service).DeepCopy,
	}
}

// withNodePorts keeps the node ports that the cluster chose, by the port's name.
func withNodePorts(desired, existing []corev1.ServicePort) []corev1.ServicePort {
	chosen := map[string]int32{}
	for _, port := range existing {
		chosen[port.Name] = port.NodePort
	}
	out := make([]corev1.ServicePort, 0, len(desired))
	for _, port := range desired {
		port.NodePort = chosen[port.Name]
		out = append(out, port)
	}
	return out
}

func (r *Reconciler) serviceAccountKind() kind[*corev1.ServiceAccount] {
	return kind[*corev1.ServiceAccount]{
		name:   "ServiceAccount",
		get:    r.serviceAccounts.ServiceAccounts(gateway.Namespace).Get,
		writer: r.kube.CoreV1().ServiceAccounts(gateway.Namespace),
		adopt: func(existing, desired *corev1.ServiceAccount) {
			existing.AutomountServiceAccountToken = desired.AutomountServiceAccountToken
		},
		equal: func(existing, desired *corev1.ServiceAccount) bool {
			return covers(desired.AutomountServiceAccountToken, existing.AutomountServiceAccountToken)
		},
		copy: (*corev1.ServiceAccount).DeepCopy,
	}
}

func (r *Reconciler) budgetKind() kind[*policyv1.PodDisruptionBudget] {
	return kind[*policyv1.PodDisruptionBudget]{
		name:   "PodDisruptionBudget",
		get:    r.budgets.PodDisruptionBudgets(gateway.Namespace).Get,
		writer: r.kube.PolicyV1().PodDisruptionBudgets(gateway.Namespace),
		adopt:  func(existing, desired *policyv1.PodDisruptionBudget) { existing.Spec = desired.Spec },
		equal:  func(existing, desired *policyv1.PodDisruptionBudget) bool { return covers(desired.Spec, existing.Spec) },
		copy:   (*policyv1.PodDisruptionBudget).DeepCopy,
	}
}

func (r *Reconciler) autoscalerKind() kind[*autoscalingv2.HorizontalPodAutoscaler] {
	return kind[*autoscalingv2.HorizontalPodAutoscaler]{
		name:   "HorizontalPodAutoscaler",
		get:    r.autoscalers.HorizontalPodAutoscalers(gateway.Namespace).Get,
		writer: r.kube.AutoscalingV2().HorizontalPodAutoscalers(gateway.Namespace),
		adopt: func(existing, desired *autoscalingv2.HorizontalPodAutoscaler) {
			desired.Spec.DeepCopyInto(&existing.Spec)
		},
		equal: func(existing, desired *autoscalingv2.HorizontalPodAutoscaler) bool {
			return covers(desired.Spec, existing.Spec)
		},
		copy: (*autoscalingv2.HorizontalPodAutoscaler).DeepCopy,
	}
}

func (r *Reconciler) deploymentKind() kind[*appsv1.Deployment] {
	return kind[*appsv1.Deployment]{
		name:   "Deployment",
		get:    r.deployments.Deployments(gateway.Namespace).Get,
		writer: r.kube.AppsV1().Deployments(gateway.Namespace),
		adopt:  func(existing, desired *appsv1.Deployment) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal:  func(existing, desired *appsv1.Deployment) bool { return covers(desired.Spec, existing.Spec) },
		copy:   (*appsv1.Deployment).DeepCopy,
		// It is there until its pods have ended.
		propagation: metav1.DeletePropagationForeground,
	}
}

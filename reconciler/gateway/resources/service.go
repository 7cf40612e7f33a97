package resources

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Services returns the Services of the shared gateway: the external one and the
// cluster-local one. No Service may expose a bind port of gateway.Entries: istiod
// would translate it once more. A tenant's gateway has none of its own: it is
// reached at the tenant's address, which moves with the tenant.
func Services(gw Gateway) []*corev1.Service {
	if gw.Tenant != "" {
		return nil
	}
	// HTTP/1.1, h2c with prior knowledge and WebSocket alike.
	return []*corev1.Service{
		service(gw, gw.Name, corev1.ServiceTypeLoadBalancer,
			servicePort("http2", 80, gateway.External), servicePort("https", 443, gateway.Secure)),
		service(gw, gateway.LocalName(gw.Name), corev1.ServiceTypeClusterIP,
			servicePort("http2", 80, gateway.Local)),
	}
}

func service(gw Gateway, name string, kind corev1.ServiceType, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: objectMeta(gw, name),
		Spec:       corev1.ServiceSpec{Type: kind, Selector: selector(gw.Name), Ports: ports},
	}
}

func servicePort(name string, port int32, entry gateway.Entry) corev1.ServicePort {
	return corev1.ServicePort{
		Name:       name,
		Protocol:   corev1.ProtocolTCP,
		Port:       port,
		TargetPort: intstr.FromInt32(int32(entry.Port)),
	}
}

// ServiceAccount is what a gateway's pods run as. It has no rights: Envoy gets
// all it needs from istiod.
func ServiceAccount(gw Gateway) *corev1.ServiceAccount {
	automount := false
	return &corev1.ServiceAccount{
		ObjectMeta:                   objectMeta(gw, gw.Name),
		AutomountServiceAccountToken: &automount,
	}
}

// DisruptionBudget lets voluntary disruptions take one pod at a time: also the
// only one, or a node could never be drained.
func DisruptionBudget(gw Gateway) *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: objectMeta(gw, gw.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one,
			Selector:       &metav1.LabelSelector{MatchLabels: selector(gw.Name)},
		},
	}
}

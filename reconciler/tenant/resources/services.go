package resources

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Services returns a tenant's address: the Service for callers outside the cluster
// and the one for those inside. Both select the pods of one gateway. No Service may
// expose a bind port of gateway.Entries: istiod would translate it once more.
func Services(t *v1alpha1.Tenant, selects string) []*corev1.Service {
	name := gateway.OfTenant(t.Name)
	external := service(t, name, selects)
	external.Spec.Type = corev1.ServiceTypeLoadBalancer
	external.Spec.Ports = []corev1.ServicePort{port("http2", 80, gateway.External), port("https", 443, gateway.Secure)}
	local := service(t, gateway.LocalName(name), selects)
	local.Spec.Type = corev1.ServiceTypeClusterIP
	local.Spec.Ports = []corev1.ServicePort{port("http2", 80, gateway.Local)}
	return []*corev1.Service{external, local}
}

func service(t *v1alpha1.Tenant, name, selects string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: objectMeta(t, name),
		Spec:       corev1.ServiceSpec{Selector: map[string]string{gateway.LabelKey: selects}},
	}
}

// port is named for istiod's sake: http2 takes HTTP/1.1, h2c with prior knowledge
// and WebSocket alike.
func port(name string, number int32, entry gateway.Entry) corev1.ServicePort {
	return corev1.ServicePort{
		Name: name, Protocol: corev1.ProtocolTCP, Port: number, TargetPort: intstr.FromInt32(int32(entry.Port)),
	}
}

// objectMeta has no owner reference: a deletion of the Tenant in the foreground
// would have the garbage collector take the address away before the finalizer has
// led the traffic elsewhere. Nor has it the label of a gateway, which the builder
// of gateways goes by.
func objectMeta(t *v1alpha1.Tenant, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: gateway.Namespace, Labels: Labels(t.Name)}
}

// Labels are on each object in the gateways' namespace that is a tenant's.
func Labels(tenant string) map[string]string {
	return map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy, sluice.TenantLabelKey: tenant}
}

// Selected returns the gateways that Services select, sorted.
func Selected(services []*corev1.Service) []string {
	var out []string
	for _, s := range services {
		out = append(out, s.Spec.Selector[gateway.LabelKey])
	}
	return union(out)
}

// LeadsTo returns the gateways that Services lead to, sorted: those that they select
// and, by endpoints and gatewayOf, those of the pods behind them. gatewayOf names
// a pod's gateway, or nothing where there is no such pod any more.
func LeadsTo(services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice, gatewayOf func(pod string) string) []string {
	out := Selected(services)
	for _, slice := range endpoints {
		for _, endpoint := range slice.Endpoints {
			if endpoint.TargetRef == nil {
				continue
			}
			if name := gatewayOf(endpoint.TargetRef.Name); name != "" {
				out = append(out, name)
			}
		}
	}
	return union(out)
}

// Address is where the Services of a tenant are reached; nothing outside the
// cluster until it has given them an address.
func Address(external *corev1.Service) string {
	for _, ingress := range external.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			return ingress.IP
		}
		if ingress.Hostname != "" {
			return ingress.Hostname
		}
	}
	return ""
}

package resources

import (
	"net/http"

	istiov1api "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// IstioGateways returns the Istio Gateways of a gateway: the external one and
// the cluster-local one. Their ports are those that the pod binds: istiod
// translates any port that a Service of the pod exposes, and would move the
// listener when that Service changes. Hosts "./…" admit the gateways' own
// namespace alone, so nobody else's VirtualService attaches.
func IstioGateways(gw Gateway) []*istiov1.Gateway {
	return []*istiov1.Gateway{
		istioGateway(gw, gw.Name, gateway.External),
		istioGateway(gw, gateway.LocalName(gw.Name), gateway.Local),
	}
}

func istioGateway(gw Gateway, name string, entry gateway.Entry) *istiov1.Gateway {
	return &istiov1.Gateway{
		ObjectMeta: objectMeta(gw, name),
		Spec: istiov1api.Gateway{
			Selector: selector(gw.Name),
			Servers: []*istiov1api.Server{{
				Port:  &istiov1api.Port{Number: entry.Port, Name: entry.Name, Protocol: "HTTP"},
				Hosts: []string{"./*"},
			}},
		},
	}
}

// ProbeVirtualService answers on gateway.ProbeHost, on every entry, with an
// empty 200. With it a gateway has a route before it has any Ingress, and the
// limiter has a place to ask what a slot enforces.
func ProbeVirtualService(gw Gateway) *istiov1.VirtualService {
	return &istiov1.VirtualService{
		ObjectMeta: objectMeta(gw, gateway.ProbeVirtualService(gw.Name)),
		Spec: istiov1api.VirtualService{
			Hosts:    []string{gateway.ProbeHost(gw.Name)},
			Gateways: []string{gateway.Namespace + "/" + gw.Name, gateway.Namespace + "/" + gateway.LocalName(gw.Name)},
			ExportTo: []string{"."},
			Http: []*istiov1api.HTTPRoute{{
				Name:           "probe",
				DirectResponse: &istiov1api.HTTPDirectResponse{Status: http.StatusOK},
			}},
		},
	}
}

package main

import (
	"fmt"
	"maps"
	"strings"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/networking/pkg/apis/networking"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
)

const (
	// namespace is the benchmark's own.
	namespace = "bench-network"
	// labelKey is on all that the benchmark makes outside of its namespace.
	labelKey = sluice.GroupName + "/bench"
	// minimalName is of the hand-made Gateway and of its Service.
	minimalName = "bench-network"
	// minimalPort is bound by the hand-made Gateway, on the shared gateway's pods.
	// No Service may expose this number, or istiod would move the listener.
	minimalPort = 8090
	// handMadeClass is an ingress class that nobody serves.
	handMadeClass = "by-hand.bench.sluice.dev"
	// The headers by which the activator knows whom to wake; Knative's own names for
	// them come with its metrics' dependencies.
	revisionNamespaceHeader = "Knative-Serving-Namespace"
	revisionHeader          = "Knative-Serving-Revision"
	// tenants have a gateway each, to be connected to istiod beside the shared one;
	// gateways is how many that makes.
	tenants  = 3
	gateways = tenants + 1
)

var ownLabels = map[string]string{labelKey: "network"}

func meta(in, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: in, Name: name, Labels: maps.Clone(ownLabels)}
}

func ownNamespace() *corev1.Namespace { return &corev1.Namespace{ObjectMeta: meta("", namespace)} }

// minimalGateway is the least that an Istio Gateway can be.
func minimalGateway() *istiov1.Gateway {
	return &istiov1.Gateway{
		ObjectMeta: meta(gateway.Namespace, minimalName),
		Spec: istioapi.Gateway{
			Selector: map[string]string{gateway.LabelKey: gateway.Shared},
			Servers: []*istioapi.Server{{
				Port:  &istioapi.Port{Number: minimalPort, Name: "http", Protocol: "HTTP"},
				Hosts: []string{"*"},
			}},
		},
	}
}

// minimalService gives the minimal gateway an address, as Sluice's has one.
func minimalService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: meta(gateway.Namespace, minimalName),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{gateway.LabelKey: gateway.Shared},
			Ports:    []corev1.ServicePort{{Name: "http2", Port: 80, TargetPort: intstr.FromInt32(minimalPort)}},
		},
	}
}

// handHost is the host of a route made by hand.
func handHost(name string) string { return name + ".by-hand.example.com" }

// handRoute sends handHost(name) to a revision, by the activator where that is in
// the path.
func handRoute(name, revision string) *istiov1.VirtualService {
	return &istiov1.VirtualService{
		ObjectMeta: meta(gateway.Namespace, namespace+"-"+name),
		Spec: istioapi.VirtualService{
			Hosts:    []string{handHost(name)},
			Gateways: []string{gateway.Namespace + "/" + minimalName},
			Http: []*istioapi.HTTPRoute{{Route: []*istioapi.HTTPRouteDestination{{
				Destination: &istioapi.Destination{
					Host: network.GetServiceHostname(revision, namespace),
					Port: &istioapi.PortSelector{Number: 80},
				},
				Headers: &istioapi.Headers{Request: &istioapi.Headers_HeaderOperations{Set: map[string]string{
					revisionNamespaceHeader: namespace,
					revisionHeader:          revision,
				}}},
			}}}},
		},
	}
}

// ranker is a Model with one replica that is always there, at a limit that is
// in force on every request and refuses none.
func ranker(name, image string) *v1alpha1.Model {
	rate := resource.MustParse("1000000")
	return &v1alpha1.Model{
		ObjectMeta: meta(namespace, name),
		Spec: v1alpha1.ModelSpec{
			Container: stage.Ranker(image, "20m"),
			// Also how long its pods may drain, and the namespace may take to go.
			TimeoutSeconds: ptr.Int64(10),
			Autoscaling: v1alpha1.AutoscalingSpec{
				MinReplicas: ptr.Int32(1),
				MaxReplicas: ptr.Int32(1),
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate, Policy: v1alpha1.PolicyReady},
		},
	}
}

// plainService is a Knative Service whose revision is the one that Sluice would
// make of the Model, and whose routing is left to others.
func plainService(m *v1alpha1.Model) *servingv1.Service {
	service := &servingv1.Service{ObjectMeta: meta(m.Namespace, m.Name)}
	service.Annotations = map[string]string{networking.IngressClassAnnotationKey: handMadeClass}
	service.Spec.Template = servingv1.RevisionTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: m.AutoscalingAnnotations()},
		Spec:       m.Spec.RevisionSpec(),
	}
	return service
}

// tenant has a gateway of its own and no namespace that exists.
func tenant(i int) *v1alpha1.Tenant {
	name := fmt.Sprintf("%s-%d", namespace, i)
	return &v1alpha1.Tenant{
		ObjectMeta: meta("", name),
		Spec: v1alpha1.TenantSpec{
			Namespaces: v1alpha1.TenantNamespaces{Names: []string{name}},
			Gateway:    v1alpha1.TenantGateway{Mode: v1alpha1.GatewayDedicated},
		},
	}
}

// backend is a Service with an endpoint at which nothing is: an address that
// RFC 5737 keeps for documentation.
func backend(name string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta(namespace, name),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.String("http2"), Port: ptr.Int32(8012)}},
	}
	slice.Labels[discoveryv1.LabelServiceName] = name
	return &corev1.Service{
		ObjectMeta: meta(namespace, name),
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
			Name: "http2", Port: 80, TargetPort: intstr.FromInt32(8012),
		}}},
	}, slice
}

// ingress has the form that Knative gives the Ingress of a Service: a host outside
// the cluster and three names within.
func ingress(name string) *networkingv1alpha1.Ingress {
	local := network.GetServiceHostname(name, namespace)
	paths := &networkingv1alpha1.HTTPIngressRuleValue{Paths: []networkingv1alpha1.HTTPIngressPath{{
		Splits: []networkingv1alpha1.IngressBackendSplit{{
			IngressBackend: networkingv1alpha1.IngressBackend{
				ServiceNamespace: namespace, ServiceName: name, ServicePort: intstr.FromInt32(80),
			},
			Percent: 100,
			AppendHeaders: map[string]string{
				revisionNamespaceHeader: namespace,
				revisionHeader:          name,
			},
		}},
	}}}
	ing := &networkingv1alpha1.Ingress{
		ObjectMeta: meta(namespace, name),
		Spec: networkingv1alpha1.IngressSpec{
			HTTPOption: networkingv1alpha1.HTTPOptionEnabled,
			Rules: []networkingv1alpha1.IngressRule{
				{
					Hosts:      []string{name + "." + namespace + ".bench.example.com"},
					Visibility: networkingv1alpha1.IngressVisibilityExternalIP, HTTP: paths,
				},
				{
					Hosts:      []string{name + "." + namespace, strings.TrimSuffix(local, "."+network.GetClusterDomainName()), local},
					Visibility: networkingv1alpha1.IngressVisibilityClusterLocal, HTTP: paths.DeepCopy(),
				},
			},
		},
	}
	ing.Annotations = map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName}
	return ing
}

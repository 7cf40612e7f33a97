package main

import (
	"fmt"
	"maps"
	"net/http"
	"time"

	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	servingnetworking "knative.dev/serving/pkg/networking"
	"knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"

	"sluice.dev/sluice/functions/limit"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// namespace is the benchmark's own, modelsNamespace that of its real Models.
	namespace       = "bench-limits"
	modelsNamespace = namespace + "-models"
	// scarceNamespace has a quota.
	scarceNamespace = namespace + "-scarce"
	// labelKey is on all that the benchmark makes outside of its namespaces.
	labelKey = sluice.GroupName + "/bench"
	// handMadeClass is an autoscaler class that nobody serves.
	handMadeClass = "by-hand.bench.sluice.dev"
	// burst is the product's default.
	burst = 100 * time.Millisecond
)

var namespaces = []string{namespace, modelsNamespace, scarceNamespace}

var ownLabels = map[string]string{labelKey: "limits"}

func meta(in, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: in, Name: name, Labels: maps.Clone(ownLabels)}
}

func ownNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: meta("", name)}
}

// subject is something limited: a virtual service on a gateway of the benchmark's,
// its RateLimit and, where it has replicas, an autoscaler and endpoints that the
// limit follows.
type subject struct {
	name    string
	gateway string
	// rate is what a replica serves, in requests per second.
	rate   int64
	policy v1alpha1.LimitPolicy
	// cap is the name of the cap that it shares, "" for none.
	cap string
	// local is true for one that is served at the cluster-local entry as well.
	local bool
	// follows is true for a limit that follows a revision; else it is fixed.
	follows bool
}

func (s subject) host() string           { return s.name + "." + namespace + ".example.com" }
func (s subject) virtualService() string { return gateway.VirtualServiceName(namespace, s.name) }
func (s subject) slot() int              { return limit.SlotOf(s.virtualService(), gateway.DefaultSlots) }

// slotObject is the EnvoyFilter that holds the subject's limit.
func (s subject) slotObject() string {
	return gateway.SlotObjectName(s.gateway, gateway.DefaultSlots, s.slot())
}

// revision is the name of the one that the limit follows.
func (s subject) revision() string { return kmeta.ChildName(s.name, "-00001") }

// endpointsName is the name of the EndpointSlice of that revision's own replicas.
func (s subject) endpointsName() string { return names.PrivateService(s.revision()) }

// route has Envoy itself answer what clients ask. There is a way on to a backend too,
// which nobody takes: a virtual service that only answers is given no share of a
// limit, since it needs none.
func (s subject) route() *istiov1.VirtualService {
	gateways := []string{gateway.Namespace + "/" + s.gateway}
	if s.local {
		gateways = append(gateways, gateway.Namespace+"/"+gateway.LocalName(s.gateway))
	}
	return &istiov1.VirtualService{
		ObjectMeta: meta(gateway.Namespace, s.virtualService()),
		Spec: istioapi.VirtualService{
			Hosts:    []string{s.host()},
			Gateways: gateways,
			ExportTo: []string{"."},
			Http: []*istioapi.HTTPRoute{
				{
					Match: []*istioapi.HTTPMatchRequest{{
						Uri: &istioapi.StringMatch{MatchType: &istioapi.StringMatch_Prefix{Prefix: "/nobody-asks-for-this"}},
					}},
					Route: []*istioapi.HTTPRouteDestination{{Destination: &istioapi.Destination{
						Host: "nobody." + namespace + ".svc.cluster.local", Port: &istioapi.PortSelector{Number: 80},
					}}},
				},
				{DirectResponse: &istioapi.HTTPDirectResponse{Status: http.StatusOK}},
			},
		},
	}
}

func (s subject) rateLimit() *v1alpha1.RateLimit {
	l := &v1alpha1.RateLimit{
		ObjectMeta: meta(namespace, s.name),
		Spec: v1alpha1.RateLimitSpec{
			Gateways:                    []string{s.gateway},
			VirtualService:              s.virtualService(),
			RequestsPerSecondPerReplica: *resource.NewQuantity(s.rate, resource.DecimalSI),
			Burst:                       metav1.Duration{Duration: burst},
			Policy:                      s.policy,
			HeadroomPercent:             100,
		},
	}
	if s.follows {
		l.Spec.Traffic = []v1alpha1.RevisionTraffic{{Revision: s.revision(), Percent: 100}}
	}
	if s.cap != "" {
		l.Spec.Cap = &v1alpha1.RateLimitCap{Name: s.cap, RequestsPerSecond: resource.MustParse("1G")}
	}
	return l
}

// autoscaler has the form of Knative's for a revision, and a class that leaves its
// status to the benchmark.
func (s subject) autoscaler() *autoscalingv1alpha1.PodAutoscaler {
	pa := &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: meta(namespace, s.revision()),
		Spec: autoscalingv1alpha1.PodAutoscalerSpec{
			ScaleTargetRef: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: kmeta.ChildName(s.revision(), "-deployment")},
			ProtocolType:   networking.ProtocolHTTP1,
		},
	}
	pa.Labels[sluice.ModelLabelKey] = s.name
	pa.Labels[serving.RevisionLabelKey] = s.revision()
	pa.Annotations = map[string]string{autoscaling.ClassAnnotationKey: handMadeClass}
	return pa
}

// endpoints are those of the revision's private Service, which isn't there: addresses
// that RFC 5737 keeps for documentation.
func (s subject) endpoints(ready int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta(namespace, s.endpointsName()),
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.String("http"), Port: ptr.Int32(8012)}},
		Endpoints:   addresses(ready),
	}
	slice.Labels[discoveryv1.LabelServiceName] = slice.Name
	slice.Labels[sluice.ModelLabelKey] = s.name
	slice.Labels[serving.RevisionLabelKey] = s.revision()
	slice.Labels[servingnetworking.ServiceTypeKey] = string(servingnetworking.ServiceTypePrivate)
	return slice
}

func addresses(n int) []discoveryv1.Endpoint {
	all := make([]discoveryv1.Endpoint, 0, n)
	for i := range n {
		all = append(all, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("192.0.2.%d", i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.Bool(true)},
		})
	}
	return all
}

// tenant has a gateway of its own and no namespace that exists.
func tenant(name string, pods int32) *v1alpha1.Tenant {
	return &v1alpha1.Tenant{
		ObjectMeta: meta("", name),
		Spec: v1alpha1.TenantSpec{
			Namespaces: v1alpha1.TenantNamespaces{Names: []string{name + "-nowhere"}},
			Gateway: v1alpha1.TenantGateway{
				Mode:     v1alpha1.GatewayDedicated,
				Replicas: v1alpha1.GatewayReplicas{Min: &pods, Max: &pods},
			},
		},
	}
}

// withoutPods is a tenant whose gateway has all that a gateway has but pods: no node
// is large enough for one.
func withoutPods(name string) *v1alpha1.Tenant {
	t := tenant(name, 1)
	t.Spec.Gateway.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10k")}
	return t
}

const (
	// The ports of a gateway pod's own Service, for its two plain entries. It must not
	// expose the numbers that the entries bind, or istiod would move the listeners.
	externalPort, localPort = 80, 81
	externalName, localName = "http", "local"
)

// podService gives one pod of a gateway an address of its own, so that each can be
// asked what it enforces. It selects nothing: its endpoints are written here.
func podService(pod *corev1.Pod) (*corev1.Service, *discoveryv1.EndpointSlice) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta(gateway.Namespace, "bench-"+pod.Name),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{pod.Status.PodIP}}},
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr.String(externalName), Port: ptr.Int32(int32(gateway.External.Port))},
			{Name: ptr.String(localName), Port: ptr.Int32(int32(gateway.Local.Port))},
		},
	}
	slice.Labels[discoveryv1.LabelServiceName] = slice.Name
	return &corev1.Service{
		ObjectMeta: meta(gateway.Namespace, slice.Name),
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{
			{Name: externalName, Port: externalPort, TargetPort: intstr.FromInt32(int32(gateway.External.Port))},
			{Name: localName, Port: localPort, TargetPort: intstr.FromInt32(int32(gateway.Local.Port))},
		}},
	}, slice
}

// Package resources turns a gateway's specification into the objects that make
// it: what Envoy is told (EnvoyFilters, Gateways, the probe-only
// VirtualService), and what runs it (Services, ServiceAccount, disruption
// budget, Deployment). Pure functions: no client, lister or clock.
package resources

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Gateway is what a gateway is built from, whoever asks for it.
type Gateway struct {
	// Name is unique in gateway.Namespace and at most 50 characters long, so
	// that the names made from it stay within Kubernetes' 63.
	Name string
	// Replicas is the number of pods.
	Replicas int32
	// CPURequest, MemoryRequest and MemoryLimit are for each pod. CPU has no
	// limit: throttling would show as latency of every Model behind it.
	CPURequest, MemoryRequest, MemoryLimit resource.Quantity
	// DrainDuration is how long a pod may go on after it was told to go.
	DrainDuration time.Duration
	// MaxConnectionDuration is the age at which clients' connections end.
	MaxConnectionDuration time.Duration
	// ProbePath begins the path of our own prober's requests, which are no demand.
	ProbePath string
}

// LocalName is the name of a gateway's cluster-local Service and Istio Gateway.
func LocalName(name string) string { return name + "-local" }

// FiltersName is the name of the EnvoyFilter that inserts a gateway's slots.
func FiltersName(name string) string { return name + "-slots" }

// ConnectionsName is the name of the EnvoyFilter that tunes a gateway's HTTP
// connection managers.
func ConnectionsName(name string) string { return name + "-connections" }

func objectMeta(gw Gateway, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: gateway.Namespace,
		Labels:    Labels(gw.Name),
	}
}

// Labels are on every object of the gateway of that name. Nothing can own what
// is in the gateways' namespace (config-gateway lives elsewhere), so labels say
// whose it is.
func Labels(name string) map[string]string {
	return map[string]string{
		sluice.ManagedByLabelKey: sluice.ManagedBy,
		gateway.LabelKey:         name,
	}
}

// selector picks a gateway's pods.
func selector(name string) map[string]string {
	return map[string]string{gateway.LabelKey: name}
}

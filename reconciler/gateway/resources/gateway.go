// Package resources turns a gateway's specification into the objects that make
// it: what Envoy is told (EnvoyFilters, Gateways, the probe-only
// VirtualService), and what runs it (Services, ServiceAccount, disruption
// budget, Deployment, autoscaler). Pure functions: no client, lister or clock.
package resources

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Gateway is what a gateway is built from, whoever asks for it.
type Gateway struct {
	// Name is unique in gateway.Namespace and at most 50 characters long, so
	// that the names made from it stay within Kubernetes' 63.
	Name string
	// Tenant is whose own gateway it is; empty for the shared one.
	Tenant string
	// MinReplicas and MaxReplicas bound the number of pods. Where they differ, the
	// pods follow the CPU that they use.
	MinReplicas, MaxReplicas int32
	// CPUUtilization is what autoscaled pods are to use on average, in percent of
	// the CPU that they request.
	CPUUtilization int32
	// Resources are each pod's; see PodResources.
	Resources corev1.ResourceRequirements
	// DrainDuration is how long a pod may go on after it was told to go.
	DrainDuration time.Duration
	// MaxConnectionDuration is the age at which clients' connections end, and how
	// long they may be idle.
	MaxConnectionDuration time.Duration
	// Slots is how many limit slots each entry of a pod has.
	Slots int
	// AccessLog is the log of its pods; nil where they write none.
	AccessLog *AccessLog
	// ProbePath begins the path of our own prober's requests, which are no demand.
	ProbePath string
	// Traces are those of requests.
	Traces Traces
}

// AccessLog is what a gateway's pods log of requests.
type AccessLog struct {
	// SuccessSample is the share, from 0 to 1, of those that went well of which there is a line.
	SuccessSample float64
}

// Autoscaled tells whether an autoscaler chooses the number of pods.
func (gw Gateway) Autoscaled() bool { return gw.MaxReplicas > gw.MinReplicas }

// FiltersName is the name of the EnvoyFilter that inserts what each request passes:
// the slots, in that number, among them.
func FiltersName(name string, slots int) string { return fmt.Sprintf("%s-slots-%d", name, slots) }

// ConnectionsName is the name of the EnvoyFilter that tunes a gateway's HTTP
// connection managers.
func ConnectionsName(name string) string { return name + "-connections" }

func objectMeta(gw Gateway, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: gateway.Namespace,
		Labels:    labels(gw),
	}
}

// labels are on every object of a gateway. Nothing can own what is in the
// gateways' namespace (config-gateway and Tenants live elsewhere), so labels say
// whose it is.
func labels(gw Gateway) map[string]string {
	out := map[string]string{
		sluice.ManagedByLabelKey: sluice.ManagedBy,
		gateway.LabelKey:         gw.Name,
	}
	if gw.Tenant != "" {
		out[sluice.TenantLabelKey] = gw.Tenant
	}
	return out
}

// labelsWithSlots are on what has a gateway's present number of slots.
func labelsWithSlots(gw Gateway) map[string]string {
	out := labels(gw)
	out[gateway.SlotsLabelKey] = strconv.Itoa(gw.Slots)
	return out
}

// selector picks a gateway's pods.
func selector(name string) map[string]string {
	return map[string]string{gateway.LabelKey: name}
}

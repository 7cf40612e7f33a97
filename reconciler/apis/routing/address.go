package routing

import (
	"slices"

	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Publish says that an Ingress is ready at an address: the name of a Service in the
// gateways' namespace, beside which there is one for callers inside the cluster.
func Publish(ing *netv1alpha1.Ingress, address string) {
	ing.Status.MarkLoadBalancerReady(leadingTo(address), leadingTo(gateway.LocalName(address)))
}

// Publishes tells whether that is where an Ingress was published.
func Publishes(ing *netv1alpha1.Ingress, address string) bool {
	return leads(ing.Status.PublicLoadBalancer, address) && leads(ing.Status.PrivateLoadBalancer, gateway.LocalName(address))
}

// leadingTo is where a Service answers within the cluster. Knative reads the Service and
// its namespace from it to find the public address.
func leadingTo(service string) []netv1alpha1.LoadBalancerIngressStatus {
	return []netv1alpha1.LoadBalancerIngressStatus{{DomainInternal: network.GetServiceHostname(service, gateway.Namespace)}}
}

func leads(status *netv1alpha1.LoadBalancerStatus, service string) bool {
	return status != nil && slices.Equal(status.Ingress, leadingTo(service))
}

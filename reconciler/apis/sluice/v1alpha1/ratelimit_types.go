package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// RateLimit is the contract between a Model's reconciler and the limiter, as a
// PodAutoscaler is between a Revision's and the autoscaler: the spec says what is
// limited and by which rule, the status what is enforced. Users don't write it.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:categories=sluice-internal
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Gateways",type=string,JSONPath=`.spec.gateways`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.spec.policy`
// +kubebuilder:printcolumn:name="Limit",type=string,JSONPath=`.status.limit.requestsPerSecond`
// +kubebuilder:printcolumn:name="Proved",type=integer,JSONPath=`.status.limit.provedGatewayPods`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.limit.gatewayPods`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
type RateLimit struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   RateLimitSpec   `json:"spec"`
	Status RateLimitStatus `json:"status,omitempty"`
}

var (
	_ kmeta.OwnerRefable = (*RateLimit)(nil)
	_ duckv1.KRShaped    = (*RateLimit)(nil)
	_ runtime.Object     = (*RateLimit)(nil)
)

// RateLimitSpec says what is limited and by which rule.
type RateLimitSpec struct {
	// Gateways are the names of those that serve the traffic, sorted: one, or two
	// while the routes move. Each limits what reaches it.
	// +kubebuilder:validation:MinItems=1
	Gateways []string `json:"gateways"`
	// VirtualService is the name, in the gateways' namespace, of the virtual
	// service whose requests share the limit.
	VirtualService string `json:"virtualService"`
	// RequestsPerSecondPerReplica is what one warm replica can serve.
	RequestsPerSecondPerReplica resource.Quantity `json:"requestsPerSecondPerReplica"`
	// Burst is the bucket's depth as a time of the limit's rate.
	Burst metav1.Duration `json:"burst"`
	// Queue is how long requests from inside the cluster may wait for replicas: their
	// bucket's depth as a time of what replicas serve, where that is more than Burst.
	// +optional
	Queue *metav1.Duration `json:"queue,omitempty"`
	// Policy is the rule by which the limit follows replicas.
	Policy LimitPolicy `json:"policy"`
	// HeadroomPercent is what policy Demand admits above the capacity.
	HeadroomPercent int32 `json:"headroomPercent"`
	// Traffic is how the virtual service splits its requests.
	// +optional
	// +listType=map
	// +listMapKey=revision
	Traffic []RevisionTraffic `json:"traffic,omitempty"`
	// Cap is shared by all RateLimits that name it.
	// +optional
	Cap *RateLimitCap `json:"cap,omitempty"`
	// Bounds are there while the Model tries other values, and says when to stop.
	// +optional
	Bounds *RateLimitBounds `json:"bounds,omitempty"`
}

// RateLimitCap holds several limits together: while their sum is above it, each
// is scaled down in proportion.
type RateLimitCap struct {
	// Name of the cap, which is the Tenant's.
	Name string `json:"name"`
	// RequestsPerSecond of all of them together.
	RequestsPerSecond resource.Quantity `json:"requestsPerSecond"`
}

// RevisionTraffic is one revision's share of the requests.
type RevisionTraffic struct {
	// Revision is the name of the revision, in the RateLimit's namespace.
	// +kubebuilder:validation:MinLength=1
	Revision string `json:"revision"`
	// Percent of the requests that go to it. It is 0 for one that only a tag leads to.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent int32 `json:"percent"`
	// Tagged is true if a tag leads to it: by a host of its own, or by header, requests
	// may go to it whatever the percentages.
	// +optional
	Tagged bool `json:"tagged,omitempty"`
}

// RateLimitStatus is what the limiter computed and saw enforced.
type RateLimitStatus struct {
	duckv1.Status `json:",inline"`

	// Revisions has a row for each revision of the spec's traffic.
	// +optional
	Revisions []RevisionCapacity `json:"revisions,omitempty"`
	// NeededUntil is until when the needed replicas of revisions count, if any are
	// needed. It is moved on while they are.
	// +optional
	NeededUntil *metav1.Time `json:"neededUntil,omitempty"`
	// Limit is the limit in force.
	// +optional
	Limit *LimitStatus `json:"limit,omitempty"`
	// Breach says which of the spec's bounds was passed first.
	// +optional
	Breach *RateLimitBreach `json:"breach,omitempty"`
}

// RevisionCapacity is what one revision contributes to a limit.
type RevisionCapacity struct {
	// Name of the revision.
	Name string `json:"name"`
	// Percent of the requests that go to it: 0 for one that only a tag leads to.
	Percent int32 `json:"percent"`
	// Desired replicas, as its autoscaler decided.
	Desired int32 `json:"desired"`
	// Ready replicas: those that are warm and in its endpoints.
	Ready int32 `json:"ready"`
	// RequestsPerSecond is the revision's capacity by the limit's policy,
	// headroom not counted.
	RequestsPerSecond Rate `json:"requestsPerSecond"`
	// Needed is how many replicas the demand at the gateways calls for, at least 2,
	// where the autoscaler, which sees admitted requests only, asks for no more.
	// +optional
	Needed int32 `json:"needed,omitempty"`
	// Missing is how many of the desired replicas can't be expected to come, so that
	// they don't count.
	// +optional
	Missing int32 `json:"missing,omitempty"`
	// Reason is why they can't, in a word.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message is why they can't.
	// +optional
	Message string `json:"message,omitempty"`
}

// LimitStatus is a limit and where it was seen enforced.
type LimitStatus struct {
	// RequestsPerSecond is the limit over all gateway pods and entries.
	RequestsPerSecond Rate `json:"requestsPerSecond"`
	// UncappedRequestsPerSecond is what the limit would be without its cap, where
	// the cap is what holds it down.
	// +optional
	UncappedRequestsPerSecond *Rate `json:"uncappedRequestsPerSecond,omitempty"`
	// Since is when the last gateway pod was seen to enforce it.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
	// GatewayPods is how many gateway pods are ready.
	GatewayPods int32 `json:"gatewayPods"`
	// ProvedGatewayPods is how many of them were seen to enforce the limit.
	ProvedGatewayPods int32 `json:"provedGatewayPods"`
	// ProvedGateways are those of the spec's that have ready pods, all of which were seen
	// to enforce the limit, sorted. No route leads to replicas at another one.
	// +optional
	// +listType=set
	ProvedGateways []string `json:"provedGateways,omitempty"`
	// LaggingGatewayPods names those that were not, at most ten. The condition
	// Proved says at which of their entries.
	// +optional
	LaggingGatewayPods []string `json:"laggingGatewayPods,omitempty"`
}

// RateLimitList is a list of RateLimits.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type RateLimitList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []RateLimit `json:"items"`
}

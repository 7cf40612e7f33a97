package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// Tenant is a team, or a customer, whose Models share namespaces, a domain, an
// address, caps and, if it is Dedicated, a gateway of their own. It is the
// operator's: those who write Models need no right to write Tenants.
//
// +genclient
// +genclient:nonNamespaced
// +genreconciler
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,categories=all;sluice
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.gateway.mode`
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.status.gateway`
// +kubebuilder:printcolumn:name="Move",type=string,JSONPath=`.status.move.phase`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address.external`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.gatewayPods`
// +kubebuilder:printcolumn:name="Models",type=integer,JSONPath=`.status.models`
// +kubebuilder:printcolumn:name="Limits",type=string,JSONPath=`.status.requestsPerSecond`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TenantSpec   `json:"spec"`
	Status TenantStatus `json:"status,omitempty"`
}

var (
	_ apis.Validatable   = (*Tenant)(nil)
	_ apis.Defaultable   = (*Tenant)(nil)
	_ kmeta.OwnerRefable = (*Tenant)(nil)
	_ duckv1.KRShaped    = (*Tenant)(nil)
	_ runtime.Object     = (*Tenant)(nil)
)

// TenantSpec is what the operator asks for.
type TenantSpec struct {
	// Namespaces are the tenant's. A namespace is held by one Tenant at a time.
	Namespaces TenantNamespaces `json:"namespaces"`
	// Domain is the suffix of the tenant's hosts: <model>.<namespace>.<domain>.
	// Hosts of that domain are for its namespaces alone. Knative's own domain
	// where unset.
	// +optional
	Domain string `json:"domain,omitempty"`
	// Gateway says whether the tenant has a gateway of its own.
	// +optional
	Gateway TenantGateway `json:"gateway,omitempty"`
	// TLS serves the domain over HTTPS.
	// +optional
	TLS *TenantTLS `json:"tls,omitempty"`
	// Limits are what the tenant's Models may have together.
	// +optional
	Limits TenantLimits `json:"limits,omitempty"`
}

// TenantNamespaces names namespaces one by one, by their labels, or both.
type TenantNamespaces struct {
	// Names of namespaces; they need not exist yet.
	// +optional
	Names []string `json:"names,omitempty"`
	// Selector picks namespaces by their labels. An empty one, which would pick
	// all, is refused.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// GatewayMode says whose gateway serves a tenant.
// +kubebuilder:validation:Enum=Shared;Dedicated
type GatewayMode string

const (
	// GatewayShared serves the tenant by the gateway of all who have none.
	GatewayShared GatewayMode = "Shared"
	// GatewayDedicated gives the tenant a gateway of its own, which holds no other
	// tenant's routes, endpoints or certificates.
	GatewayDedicated GatewayMode = "Dedicated"
)

// TenantGateway is the gateway that a tenant wants. Changing Mode moves the
// tenant without losing a request.
type TenantGateway struct {
	// Mode is Shared where unset.
	// +optional
	Mode GatewayMode `json:"mode,omitempty"`
	// Replicas of a Dedicated gateway.
	// +optional
	Replicas GatewayReplicas `json:"replicas,omitempty"`
	// Resources of each pod of a Dedicated gateway: requests of cpu and memory and
	// a limit of memory. Those of ConfigMap config-gateway where unset.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// GatewayReplicas bounds the pods of a gateway. Where Max is above Min they
// follow the CPU that they use.
type GatewayReplicas struct {
	// Min is that of ConfigMap config-gateway where unset.
	// +optional
	Min *int32 `json:"min,omitempty"`
	// Max is Min where unset.
	// +optional
	Max *int32 `json:"max,omitempty"`
}

// HTTPProtocol says what plain HTTP does for hosts that have HTTPS.
// +kubebuilder:validation:Enum=Enabled;Redirected
type HTTPProtocol string

const (
	// HTTPEnabled serves over plain HTTP as well.
	HTTPEnabled HTTPProtocol = "Enabled"
	// HTTPRedirected answers 301 to the same URL over HTTPS.
	HTTPRedirected HTTPProtocol = "Redirected"
)

// TenantTLS is the certificate of a tenant's domain.
type TenantTLS struct {
	// SecretName names a Secret of type kubernetes.io/tls. Its certificate should
	// be good for *.<namespace>.<domain> of each of the tenant's namespaces.
	SecretName string `json:"secretName"`
	// SecretNamespace is where the Secret is: sluice-system, which is the default,
	// or one of the tenant's namespaces.
	// +optional
	SecretNamespace string `json:"secretNamespace,omitempty"`
	// HTTPProtocol is Redirected where unset.
	// +optional
	HTTPProtocol HTTPProtocol `json:"httpProtocol,omitempty"`
}

// TenantLimits are caps on all Models of a tenant together; unset is no cap.
type TenantLimits struct {
	// RequestsPerSecond caps the sum of the Models' limits: above it all of them
	// are scaled down in proportion. It may have decimal places, in quotes or without.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	RequestsPerSecond *resource.Quantity `json:"requestsPerSecond,omitempty"`
	// Models caps their number.
	// +optional
	Models *int32 `json:"models,omitempty"`
	// MaxReplicas caps the sum of the Models' spec.autoscaling.maxReplicas, which
	// each of them has to set.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
}

// TenantStatus is what Sluice saw of the tenant.
type TenantStatus struct {
	duckv1.Status `json:",inline"`

	// Namespaces that the tenant holds, sorted by name.
	// +optional
	Namespaces []TenantNamespace `json:"namespaces,omitempty"`
	// Domain is the one in force: its hosts are for the tenant's namespaces alone.
	// Empty where none is asked for, and where DomainReady says why the one that is
	// can't be the tenant's.
	// +optional
	Domain string `json:"domain,omitempty"`
	// Gateway is the name of the gateway that the tenant's address leads to.
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// GatewaySince is when the address came to lead there.
	// +optional
	GatewaySince *metav1.Time `json:"gatewaySince,omitempty"`
	// Attached are the gateways that are to have the tenant's routes and limits:
	// Gateway and, during a move, the one before it or to come. Sorted.
	// +optional
	Attached []string `json:"attached,omitempty"`
	// Move is the move under way.
	// +optional
	Move *TenantMove `json:"move,omitempty"`
	// Address is where the tenant's Models are reached. It never changes.
	// +optional
	Address *TenantAddress `json:"address,omitempty"`
	// GatewayPods is how many pods of Gateway are ready.
	GatewayPods int32 `json:"gatewayPods"`
	// Models is how many Models the tenant has.
	Models int32 `json:"models"`
	// RequestsPerSecond is the sum of their limits in force.
	// +optional
	RequestsPerSecond *Rate `json:"requestsPerSecond,omitempty"`
}

// NamespacePhase says how far a namespace has come to, or gone from, a tenant.
type NamespacePhase string

const (
	// NamespaceJoining is served by the tenant's gateways and still by the shared
	// one, for clients who knew it there.
	NamespaceJoining NamespacePhase = "Joining"
	// NamespaceHeld is served by the tenant's gateways.
	NamespaceHeld NamespacePhase = "Held"
	// NamespaceLeaving is served by the shared gateway and still by the tenant's.
	// No other tenant can have it before it has left.
	NamespaceLeaving NamespacePhase = "Leaving"
)

// TenantNamespace is a namespace that a tenant holds.
type TenantNamespace struct {
	// Name of the namespace.
	Name string `json:"name"`
	// Phase of it.
	Phase NamespacePhase `json:"phase"`
	// Since is when the phase began.
	Since metav1.Time `json:"since"`
	// Served is when, in this phase, each of its routes and limits was first seen
	// on every gateway that is to have it, and its address published. Joining and
	// Leaving end when no client can be left that knows only the address before.
	// +optional
	Served *metav1.Time `json:"served,omitempty"`
}

// MovePhase is a step of a tenant's move from one gateway to another.
type MovePhase string

const (
	// MovePreparing waits for the gateway's pods.
	MovePreparing MovePhase = "Preparing"
	// MoveAttaching waits until every pod of both gateways was seen to serve every
	// route and to enforce every limit.
	MoveAttaching MovePhase = "Attaching"
	// MoveSwitching switches the address. It is a phase of its own, recorded before
	// the first Service is changed, so that a controller that is interrupted
	// between the two knows that connections may have been made to either gateway.
	MoveSwitching MovePhase = "Switching"
	// MoveDraining waits until no connection made before the switch can have a
	// request under way. Then the routes are taken from the gateway before.
	MoveDraining MovePhase = "Draining"
)

// TenantMove is a move from one gateway to another.
type TenantMove struct {
	// From is the gateway that is left.
	From string `json:"from"`
	// To is the gateway that is to serve.
	To string `json:"to"`
	// Phase is the step that is under way.
	Phase MovePhase `json:"phase"`
	// Since is when the phase began.
	Since metav1.Time `json:"since"`
	// Message says what it waits for.
	// +optional
	Message string `json:"message,omitempty"`
}

// TenantAddress is where a tenant's Models are reached.
type TenantAddress struct {
	// External is the IP address or host name outside the cluster.
	// +optional
	External string `json:"external,omitempty"`
	// Internal is the host, within the cluster, of the Service for callers there.
	Internal string `json:"internal"`
}

// TenantList is a list of Tenants.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type TenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Tenant `json:"items"`
}

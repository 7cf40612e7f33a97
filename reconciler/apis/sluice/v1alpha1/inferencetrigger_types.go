package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// InferenceTrigger has each event of a Broker that passes its filters become one request to a
// Model, whose answer becomes an event again; or a Batch. Texts in it may have ${...} with CEL
// expressions over the event, as in ${event.data.user}.
//
// +genclient
// +genreconciler
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:categories=all;sluice
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.broker`
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.model`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type InferenceTrigger struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   InferenceTriggerSpec   `json:"spec"`
	Status InferenceTriggerStatus `json:"status,omitempty"`
}

var (
	_ apis.Validatable   = (*InferenceTrigger)(nil)
	_ apis.Defaultable   = (*InferenceTrigger)(nil)
	_ kmeta.OwnerRefable = (*InferenceTrigger)(nil)
	_ duckv1.KRShaped    = (*InferenceTrigger)(nil)
	_ runtime.Object     = (*InferenceTrigger)(nil)
)

// InferenceTriggerSpec says which events are taken, and what becomes of each: Request or Batch.
type InferenceTriggerSpec struct {
	// Broker is the name of the Broker whose events are taken, in the InferenceTrigger's own
	// namespace. It can't change.
	Broker string `json:"broker"`
	// Filter takes the events that have these values of attributes. Filters can say more; all
	// events are taken where neither is set.
	// +optional
	Filter *eventingv1.TriggerFilter `json:"filter,omitempty"`
	// Filters takes the events that pass all of them, in any of the dialects that a Trigger of
	// Knative knows: exact, prefix, suffix, all, any, not, cesql.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Filters []eventingv1.SubscriptionsAPIFilter `json:"filters,omitempty"`

	// Model is the name of the Model that Request asks, in the InferenceTrigger's own namespace.
	// +optional
	Model string `json:"model,omitempty"`
	// Request asks the Model, once for each event, as any online caller does.
	// +optional
	Request *TriggerRequest `json:"request,omitempty"`
	// Reply says what comes of the Model's answer.
	// +optional
	Reply *TriggerReply `json:"reply,omitempty"`
	// Batch starts a Batch for each event, in the InferenceTrigger's own namespace.
	// +optional
	Batch *TriggerBatch `json:"batch,omitempty"`

	// Delivery says how often and when the Broker delivers an event again that wasn't taken, and
	// where it goes in the end, as for a Trigger of Knative. The Broker's own where it is unset.
	// +optional
	Delivery *eventingduckv1.DeliverySpec `json:"delivery,omitempty"`
}

// TriggerRequest is what becomes of an event.
type TriggerRequest struct {
	// Method is POST where it is unset: or GET, PUT, PATCH or DELETE. It may have an expression.
	// +optional
	Method string `json:"method,omitempty"`
	// Path of the request, with its query, as in /v2/models/ranker/infer. It may have expressions;
	// what these come to is taken as it is, and not escaped.
	Path string `json:"path"`
	// Headers of the request, beside Idempotency-Key, which names the event. Their values may have
	// expressions.
	// +optional
	Headers map[string]string `json:"headers,omitempty"`
	// Body of the request: the event's data, byte by byte, where it is unset. One expression alone
	// becomes JSON, as ${event.data.inputs} or ${{"text": event.subject}} does, unless it is a string
	// or bytes; any other text is one with expressions in it.
	// +optional
	Body *string `json:"body,omitempty"`
	// Timeout bounds the request, the Model's start from zero included: 1m, which is the default,
	// or 100ms to 10m. The Model's own timeoutSeconds holds beside it.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// TriggerReplyDestination is where a reply goes.
// +kubebuilder:validation:Enum=Broker;Sink;None
type TriggerReplyDestination string

const (
	// ReplyToBroker sends replies to the Broker that the events are from.
	ReplyToBroker TriggerReplyDestination = "Broker"
	// ReplyToSink has the Broker deliver them to a sink, too.
	ReplyToSink TriggerReplyDestination = "Sink"
	// ReplyToNone drops the Model's answers.
	ReplyToNone TriggerReplyDestination = "None"
)

// TriggerReply says what comes of the Model's answer.
type TriggerReply struct {
	// To is Broker, which is the default: an answer becomes an event of the Broker. With Sink,
	// which is the default where sink is set, the Broker delivers that event to the sink, by a
	// Trigger of its own: a sink that is away has the Model asked nothing again. With None it is
	// dropped.
	// +optional
	To TriggerReplyDestination `json:"to,omitempty"`
	// Sink is whom replies are delivered to.
	// +optional
	Sink *duckv1.Destination `json:"sink,omitempty"`
	// Type of the reply's event: dev.sluice.inference.completed.v1 where it is unset.
	// +optional
	Type string `json:"type,omitempty"`
}

// TriggerBatch starts a Batch.
type TriggerBatch struct {
	// Template is what each Batch is made of. Its name follows from the event's source and id, so
	// an event that is delivered twice starts one.
	Template TriggerBatchTemplate `json:"template"`
}

// TriggerBatchTemplate is what a Batch is made of.
type TriggerBatchTemplate struct {
	// Spec is the Batch's. Its texts may have expressions; serviceAccountName, secretName, endpoint,
	// numbers, times and what has few values may not. Each Batch needs an output of its own: put
	// ${event.id} into its prefix or folder. It needs ttlAfterFinished.
	Spec BatchSpec `json:"spec"`
}

// InferenceTriggerStatus is what was seen.
type InferenceTriggerStatus struct {
	duckv1.Status `json:",inline"`
}

// InferenceTriggerList is a list of InferenceTriggers.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type InferenceTriggerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []InferenceTrigger `json:"items"`
}

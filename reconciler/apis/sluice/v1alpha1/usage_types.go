package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Usage is what a Model used: of the last day in which it was used, and of the one before. It has the
// Model's name, and outlives it. Nobody but the ledger writes it.
//
// What was added up and up to where are in one status, so that each write has both: whoever goes on
// after a crash counts nothing twice, and leaves nothing out.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:categories=sluice
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Day",type=string,JSONPath=`.status.day.date`
// +kubebuilder:printcolumn:name="Requests",type=integer,JSONPath=`.status.day.total.requests.ended`
// +kubebuilder:printcolumn:name="Refused",type=integer,JSONPath=`.status.day.total.requests.refused`
// +kubebuilder:printcolumn:name="Errors",type=integer,JSONPath=`.status.day.total.requests.serverErrors`
// +kubebuilder:printcolumn:name="CPU-s",type=string,JSONPath=`.status.day.total.cpuSeconds.total`
// +kubebuilder:printcolumn:name="GiB-s",type=string,JSONPath=`.status.day.total.memoryGiBSeconds.total`
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.status.tenant`
type Usage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status UsageStatus `json:"status,omitempty"`
}

var _ runtime.Object = (*Usage)(nil)

// UsageStatus is what was used, what is yet to be told of it, and up to where it was counted.
type UsageStatus struct {
	// Tenant that the Model's namespace was of last, empty for none.
	// +optional
	Tenant string `json:"tenant,omitempty"`
	// ModelUID is that of the Model that had the name last.
	// +optional
	ModelUID types.UID `json:"modelUID,omitempty"`
	// Day is the last day in which the Model was used.
	// +optional
	Day *UsageDay `json:"day,omitempty"`
	// Previous is the one before.
	// +optional
	Previous *UsageDay `json:"previous,omitempty"`
	// Unsent are the events of usage that the Broker isn't known to have.
	// +optional
	Unsent []UsageReport `json:"unsent,omitempty"`
	// Accounted is up to where it was counted.
	// +optional
	Accounted UsageCheckpoint `json:"accounted,omitempty"`
}

// UsageSums are requests and resources. The parts of each make up its whole.
type UsageSums struct {
	// Requests that have ended, by how.
	Requests UsageRequests `json:"requests"`
	// ReplicaSeconds are those for which pods had a node.
	ReplicaSeconds UsageParts `json:"replicaSeconds"`
	// CPUSeconds are those of all containers of pods.
	CPUSeconds UsageParts `json:"cpuSeconds"`
	// MemoryGiBSeconds are the pods' working sets over time.
	MemoryGiBSeconds UsageParts `json:"memoryGiBSeconds"`
	// Devices are what pods requested of extended resources, over time.
	// +optional
	// +listType=map
	// +listMapKey=resource
	Devices []DeviceUsage `json:"devices,omitempty"`
}

// UsageRequests are requests that have ended, whoever answered them.
type UsageRequests struct {
	// Ended is the sum of the others.
	Ended int64 `json:"ended"`
	// OK have a status below 400.
	OK int64 `json:"ok"`
	// ClientErrors have one from 400 to 499, and weren't refused.
	ClientErrors int64 `json:"clientErrors"`
	// ServerErrors have one of 500 or above.
	ServerErrors int64 `json:"serverErrors"`
	// Refused were so by a limit.
	Refused int64 `json:"refused"`
	// Left are those whose callers left before an answer.
	Left int64 `json:"left"`
}

// UsageParts is an amount over time, by what the replica did then.
type UsageParts struct {
	// Total is the sum of the others.
	Total Amount `json:"total"`
	// ColdStart is until the model could be warmed up or, where it isn't, was ready.
	ColdStart Amount `json:"coldStart"`
	// WarmUp is while it was warmed up.
	WarmUp Amount `json:"warmUp"`
	// Serving is while it was ready and its revision had requests, but for Batch.
	Serving Amount `json:"serving"`
	// Batch is the share of that time of requests with the mark of a batch.
	Batch Amount `json:"batch"`
	// Idle is while it was ready and its revision had no requests.
	Idle Amount `json:"idle"`
}

// DeviceUsage is what was requested of one extended resource, in units times seconds.
type DeviceUsage struct {
	// Resource is its name, such as nvidia.com/gpu.
	Resource string `json:"resource"`
	// Seconds are those of each unit.
	Seconds UsageParts `json:"seconds"`
}

// RevisionUsage is what one revision used.
type RevisionUsage struct {
	// Revision is its name; "none" has the requests for which none was chosen, and "others" those of
	// revisions that are too many to be told one by one: the first ones.
	Revision  string `json:"revision"`
	UsageSums `json:",inline"`
}

// UsageDay is what a Model used on one day.
type UsageDay struct {
	// Date of the day, in UTC: 2026-12-01.
	Date string `json:"date"`
	// Total is the sum over revisions.
	Total UsageSums `json:"total"`
	// BatchRequests are those that arrived with the mark of a batch.
	BatchRequests int64 `json:"batchRequests"`
	// Revisions has a row for each one that was used.
	// +listType=map
	// +listMapKey=revision
	Revisions []RevisionUsage `json:"revisions"`
	// Uncertain says what may be missing, nil where nothing may.
	// +optional
	Uncertain *UsageUncertain `json:"uncertain,omitempty"`
}

// UsageUncertain says what wasn't seen. It is in none of the sums.
type UsageUncertain struct {
	// GatewayPods is how many of them ended without having been seen with nothing under way.
	// +optional
	GatewayPods int64 `json:"gatewayPods,omitempty"`
	// Requests is how many of the Model's were under way there when they were read last.
	// +optional
	Requests int64 `json:"requests,omitempty"`
	// UnreadSeconds are those before the end of gateway pods and replicas, and those between readings
	// of replicas' memory, for which nobody read them.
	// +optional
	UnreadSeconds int64 `json:"unreadSeconds,omitempty"`
}

// UsageReport is what one event tells of.
type UsageReport struct {
	// Minute that the event is of, by which it has its id: the one in which it was written, or the
	// next one that had none.
	Minute metav1.Time `json:"minute"`
	// Date is the day, in UTC, that it is a part of.
	Date string `json:"date"`
	// ModelUID is the Model's, Tenant its namespace's, empty for none.
	// +optional
	ModelUID types.UID `json:"modelUID,omitempty"`
	// Tenant of the Model's namespace, empty for none.
	// +optional
	Tenant string `json:"tenant,omitempty"`
	// Total is the sum over revisions.
	Total UsageSums `json:"total"`
	// BatchRequests are those that arrived with the mark of a batch.
	BatchRequests int64 `json:"batchRequests"`
	// Revisions has a row for each one that was used.
	// +listType=map
	// +listMapKey=revision
	Revisions []RevisionUsage `json:"revisions"`
}

// UsageCheckpoint is up to where what gateway pods and nodes count was taken over.
type UsageCheckpoint struct {
	// At is when.
	// +optional
	At metav1.MicroTime `json:"at,omitempty"`
	// Minute is that of the newest event.
	// +optional
	Minute *metav1.Time `json:"minute,omitempty"`
	// OthersThrough is the last one, in alphabetical order, of the revisions that are told together.
	// +optional
	OthersThrough string `json:"othersThrough,omitempty"`
	// Gateways has each gateway pod that counted requests of the Model.
	// +optional
	// +listType=map
	// +listMapKey=uid
	Gateways []GatewayPodAccount `json:"gateways,omitempty"`
	// Pods has each pod of the Model.
	// +optional
	// +listType=map
	// +listMapKey=uid
	Pods []PodAccount `json:"pods,omitempty"`
}

// GatewayPodAccount is what of a gateway pod's counters was taken over.
type GatewayPodAccount struct {
	// UID of the pod.
	UID types.UID `json:"uid"`
	// Name of the pod.
	Name string `json:"name"`
	// At is when it was read.
	At metav1.MicroTime `json:"at"`
	// UptimeSeconds is how long its Envoy had run then, Restarts how often its container had been started again.
	UptimeSeconds int64 `json:"uptimeSeconds"`
	// Restarts of its container.
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// Offered are the Model's requests that had arrived, Marked those of them with the mark of a batch.
	Offered int64 `json:"offered"`
	// Marked are those with the mark of a batch.
	// +optional
	Marked int64 `json:"marked,omitempty"`
	// Revisions are the requests that had ended.
	// +optional
	// +listType=map
	// +listMapKey=revision
	Revisions []RevisionRequests `json:"revisions,omitempty"`
}

// RevisionRequests are one revision's at a gateway pod.
type RevisionRequests struct {
	// Revision as in RevisionUsage.
	Revision      string `json:"revision"`
	UsageRequests `json:",inline"`
}

// PodAccount is what of a replica was taken over.
type PodAccount struct {
	// UID of the pod.
	UID types.UID `json:"uid"`
	// Name of the pod.
	Name string `json:"name"`
	// Revision of the pod.
	Revision string `json:"revision"`
	// CPUSeconds since its start.
	CPUSeconds Amount `json:"cpuSeconds"`
	// At is up to when its time was.
	At metav1.MicroTime `json:"at"`
}

// UsageList is a list of Usages.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type UsageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Usage `json:"items"`
}

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// Batch is a bounded set of requests to one Model. Each item of its input is answered in
// its output, or is among the errors there, exactly once. It runs as Jobs in its own
// namespace, and takes only what the Model's online traffic leaves.
//
// +genclient
// +genreconciler
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:categories=all;sluice
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.model`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Succeeded")].reason`
// +kubebuilder:printcolumn:name="Items",type=integer,JSONPath=`.status.total`
// +kubebuilder:printcolumn:name="Succeeded",type=integer,JSONPath=`.status.succeeded`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Rate",type=string,JSONPath=`.status.requestsPerSecond`
// +kubebuilder:printcolumn:name="Shards",type=integer,priority=1,JSONPath=`.status.shards.total`
// +kubebuilder:printcolumn:name="Done",type=integer,priority=1,JSONPath=`.status.shards.complete`
// +kubebuilder:printcolumn:name="End",type=date,priority=1,JSONPath=`.status.completionTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Batch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BatchSpec   `json:"spec"`
	Status BatchStatus `json:"status,omitempty"`
}

var (
	_ apis.Validatable   = (*Batch)(nil)
	_ apis.Defaultable   = (*Batch)(nil)
	_ kmeta.OwnerRefable = (*Batch)(nil)
	_ duckv1.KRShaped    = (*Batch)(nil)
	_ runtime.Object     = (*Batch)(nil)
)

// BatchSpec says what is asked of whom. Once the run has begun, only Suspend, Workers,
// MaxReplicas, Deadline and TTLAfterFinished may change.
type BatchSpec struct {
	// Model is the name of the Model that is asked, in the Batch's own namespace.
	Model string `json:"model"`
	// Input is where the items are.
	Input BatchInput `json:"input"`
	// Format says what of the input is an item.
	// +optional
	Format BatchFormat `json:"format,omitempty"`
	// Request is what becomes of an item.
	Request BatchRequest `json:"request"`
	// Output is where the answers go, and the errors beside them. No other Batch may have
	// the same, unless it is a topic.
	Output BatchOutput `json:"output"`

	// Suspend stops the run, which then has no pod and causes no replica, until it is false
	// again. Nothing is lost.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// Workers is how many pods work at the same time: 2, which is the default, or 1 to 100.
	// How fast the run is doesn't follow from it, but from what the Model has left.
	// +optional
	Workers *int32 `json:"workers,omitempty"`
	// MaxReplicas bounds the replicas of the Model that the run may cause. Those that are
	// there for others it uses all the same. The Model's and its tenant's bounds hold beside
	// it, and alone where it is unset.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// Deadline is how long after its start the run has to be over: at least 1s, the time that
	// it is suspended not left out. The Model is scaled so that it is met. What isn't done by
	// then isn't done; what is, stays. Without one the run takes the time that it takes.
	// +optional
	Deadline *metav1.Duration `json:"deadline,omitempty"`
	// TTLAfterFinished is how long after its end the Batch is deleted, with its Jobs and
	// without its output. Unset, it stays.
	// +optional
	TTLAfterFinished *metav1.Duration `json:"ttlAfterFinished,omitempty"`

	// Retry says how often an item is asked that the Model didn't answer.
	// +optional
	Retry BatchRetry `json:"retry,omitempty"`
	// MaxFailedItems is how many items may fail: with one more, the run has failed, so that 0
	// ends it with the first. Any number may where it is unset.
	// +optional
	MaxFailedItems *int64 `json:"maxFailedItems,omitempty"`

	// ServiceAccountName is the identity of the run's pods: the namespace's default where
	// it is unset.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Resources of each of the run's pods: 100m of cpu and 128Mi of memory requested, and a
	// limit of 512Mi of memory, where they are unset. What it takes of memory doesn't grow
	// with the input. The answers of up to 1000 items at a time are on its own disk until they
	// are put: a limit of ephemeral-storage, 1.1Gi where it is unset, has to hold them twice.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// BatchItemFormat says what of an input is an item.
// +kubebuilder:validation:Enum=Lines;Objects;Rows
type BatchItemFormat string

const (
	// FormatLines takes each line, or record, for the body of a request.
	FormatLines BatchItemFormat = "Lines"
	// FormatObjects takes each object, file or record, of whatever bytes, for the body of a
	// request.
	FormatObjects BatchItemFormat = "Objects"
	// FormatRows takes each line, or record, for a row of a request of the Open Inference
	// Protocol v2: rows are gathered in requests, and the answers split again.
	FormatRows BatchItemFormat = "Rows"
)

// BatchFormat says what of the input is an item.
type BatchFormat struct {
	// Type is Lines where it is unset: each line, or record of a topic, is the body of a request,
	// in JSON. With Objects each object of a prefix, file of a folder or record of a topic is
	// one, of whatever bytes. With Rows each line, or record, is a row of a request of the Open
	// Inference Protocol v2.
	// +optional
	Type BatchItemFormat `json:"type,omitempty"`
	// Rows is how many rows are asked in one request, at most: 64, which is the default, or
	// 1 to 10000. It is for type Rows alone.
	// +optional
	Rows *int32 `json:"rows,omitempty"`
}

// BatchRequest is what becomes of an item: a POST to the Model.
type BatchRequest struct {
	// Path of the request, with its query, as in /v2/models/ranker/infer.
	Path string `json:"path"`
	// Headers of each request, beside Idempotency-Key, which names its item. Content-Type is
	// application/json where it isn't among them.
	// +optional
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout bounds one request: 5m, which is the default, or 100ms to 1h. The Model's own
	// timeoutSeconds holds beside it.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// BatchRetry says how often an item is asked that the Model didn't answer, or answered with
// a status of 500 or above, 408 or 425. Others of 400 and above are answers: the item has
// failed. 429 and 503 don't count, they are waited for as they ask.
type BatchRetry struct {
	// Attempts is how often one item is asked, at most: 5, which is the default, or 1 to 100.
	// +optional
	Attempts *int32 `json:"attempts,omitempty"`
	// Delay is the time before it is asked the second time: 500ms, which is the default, or
	// 10ms to MaxDelay. It doubles with each.
	// +optional
	Delay *metav1.Duration `json:"delay,omitempty"`
	// MaxDelay bounds that time: 30s, which is the default, or up to 1h.
	// +optional
	MaxDelay *metav1.Duration `json:"maxDelay,omitempty"`
}

// BatchStatus is what was seen of a run.
type BatchStatus struct {
	duckv1.Status `json:",inline"`

	// StartTime is when the run began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when it was over, whatever came of it.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Total is how many items the input has.
	// +optional
	Total *int64 `json:"total,omitempty"`

	BatchProgress `json:",inline"`
}

// BatchProgress is how far a run is, by what its workers say while they are at it, and by
// what they ended with. It is written at most once in 5 s, unless a condition changes.
type BatchProgress struct {
	// ProgressTime is when the rest of the progress was seen.
	// +optional
	ProgressTime *metav1.MicroTime `json:"progressTime,omitempty"`
	// Succeeded is how many items are answered: those in the output, and those that are on
	// their way there. With Failed it never goes back. Items of which a worker that was killed
	// had results, and had not put them in the output, are asked again: they count, and aren't
	// counted twice.
	// +optional
	Succeeded *int64 `json:"succeeded,omitempty"`
	// Failed is how many items are, or will be, among the errors there.
	// +optional
	Failed *int64 `json:"failed,omitempty"`
	// InFlight is how many requests the Model is working on.
	// +optional
	InFlight *int32 `json:"inFlight,omitempty"`
	// RequestsPerSecond is the rate at which it answers, averaged over ten seconds, or over as
	// many more as ten answers take. It isn't there while nobody asks.
	// +optional
	RequestsPerSecond *Rate `json:"requestsPerSecond,omitempty"`
	// EstimatedEnd is when the run is over at the rate at which items get their results now.
	// +optional
	EstimatedEnd *metav1.Time `json:"estimatedEnd,omitempty"`
	// Shards are the ranges of the input that workers take up one by one.
	// +optional
	Shards *BatchShards `json:"shards,omitempty"`
}

// BatchShards counts the ranges that the input is divided in.
type BatchShards struct {
	// Total is how many there are.
	Total int32 `json:"total"`
	// Complete is how many of them are in the output.
	Complete int32 `json:"complete"`
	// Active is how many are being worked on.
	Active int32 `json:"active"`
	// Failed is how many were given up.
	Failed int32 `json:"failed"`
}

// BatchList is a list of Batches.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type BatchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Batch `json:"items"`
}

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WarmUpSpec is how a replica is warmed up before it gets its first request, each
// time its model starts: requests are replayed against it on its own host, past the
// gateway, the activator and the limit, with the header Sluice-Warm-Up. Without any
// requests a replica only waits until its model listens. A change makes a new
// revision.
type WarmUpSpec struct {
	// Requests are replayed in order, one round after the other. At most 100, with
	// bodies of at most 1 MiB together; Corpus has room for more.
	// +optional
	Requests []WarmUpRequest `json:"requests,omitempty"`
	// Corpus is replayed instead of Requests.
	// +optional
	Corpus *WarmUpCorpus `json:"corpus,omitempty"`
	// Concurrency is how many requests are in flight at once: 1, which is the
	// default, to 64.
	// +optional
	Concurrency int32 `json:"concurrency,omitempty"`
	// Repeat is the number of rounds; with Until, the most.
	// +optional
	Repeat int32 `json:"repeat,omitempty"`
	// Until ends the warm-up by what is seen of it.
	// +optional
	Until *WarmUpUntil `json:"until,omitempty"`
	// Timeout bounds the warm-up from the moment that the model answers: 1s to 1h, 2m
	// by default. What isn't warm by then has failed.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// OnFailure says what becomes of a replica that can't be warmed up: with Block,
	// the default, it never serves; with Serve it serves cold.
	// +optional
	OnFailure WarmUpFailurePolicy `json:"onFailure,omitempty"`
}

// WarmUpFailurePolicy says what becomes of a replica that can't be warmed up.
// +kubebuilder:validation:Enum=Block;Serve
type WarmUpFailurePolicy string

const (
	// WarmUpBlock keeps a replica that can't be warmed up from serving.
	WarmUpBlock WarmUpFailurePolicy = "Block"
	// WarmUpServe lets it serve cold.
	WarmUpServe WarmUpFailurePolicy = "Serve"
)

// WarmUpRequest is one request, HTTP where it has a path, gRPC where it names a
// method. HTTP/2 without TLS is spoken where the container's port is named h2c, as
// gRPC needs it.
type WarmUpRequest struct {
	// Name tells the request from others in the status.
	// +optional
	Name string `json:"name,omitempty"`
	// Method is GET by default; with a body, POST.
	// +optional
	Method string `json:"method,omitempty"`
	// Path, with its query.
	// +optional
	Path string `json:"path,omitempty"`
	// GRPC names a unary method: package.Service/Method. The body is the message.
	// +optional
	GRPC string `json:"grpc,omitempty"`
	// Headers of an HTTP request, metadata of gRPC.
	// +optional
	Headers map[string]string `json:"headers,omitempty"`
	// Body as text.
	// +optional
	Body string `json:"body,omitempty"`
	// BodyBytes is the body in base64.
	// +optional
	BodyBytes []byte `json:"bodyBytes,omitempty"`
	// BodyFrom takes the body from elsewhere.
	// +optional
	BodyFrom *WarmUpBodySource `json:"bodyFrom,omitempty"`
	// Expect makes the request a test: another answer fails the warm-up.
	// +optional
	Expect *WarmUpExpectation `json:"expect,omitempty"`
}

// WarmUpBodySource is where a body comes from.
type WarmUpBodySource struct {
	// ConfigMapKeyRef names a key of a ConfigMap in the Model's namespace. Its value is
	// copied when the revision is made; a later change has no effect on that one.
	ConfigMapKeyRef *WarmUpConfigMapKey `json:"configMapKeyRef,omitempty"`
}

// WarmUpConfigMapKey is a key of a ConfigMap.
type WarmUpConfigMapKey struct {
	// Name of the ConfigMap, in the Model's namespace.
	Name string `json:"name"`
	// Key of the body in it.
	Key string `json:"key"`
}

// WarmUpExpectation is the answer that a request has to get.
type WarmUpExpectation struct {
	// Status is the HTTP status, or the gRPC code; any from 200 to 299, or 0 (OK), by
	// default.
	// +optional
	Status *int32 `json:"status,omitempty"`
	// JSON compares one value of the answer.
	// +optional
	JSON *WarmUpJSONValue `json:"json,omitempty"`
	// Body compares the whole answer as text.
	// +optional
	Body string `json:"body,omitempty"`
	// BodyBytes compares the whole answer; in base64.
	// +optional
	BodyBytes []byte `json:"bodyBytes,omitempty"`
}

// WarmUpJSONValue is a value within an answer of JSON.
type WarmUpJSONValue struct {
	// Path is a JSONPath as kubectl has it, such as {.outputs[0].name}.
	Path string `json:"path"`
	// Value is what the path yields, as kubectl prints it.
	Value string `json:"value"`
}

// WarmUpCorpus is an OCI artifact of recorded requests: JSON lines, each with the
// fields of a request but bodyFrom, in its layers as they are or in files *.jsonl
// of its layers' archives.
type WarmUpCorpus struct {
	// Image names the artifact by digest, so that every replica of a revision is
	// warmed up with the same. It is pulled with spec.imagePullSecrets.
	Image string `json:"image"`
}

// WarmUpUntil ends a warm-up by what is seen of it.
type WarmUpUntil struct {
	// Stable ends it once the latency falls no more.
	Stable *WarmUpStable `json:"stable,omitempty"`
}

// WarmUpStable is when the latency counts as falling no more: docs/warmup.md has the
// statistic.
type WarmUpStable struct {
	// Window is how many rounds are looked at: 5 to 100, 10 by default.
	// +optional
	Window int32 `json:"window,omitempty"`
	// Tolerance is the fall over the window, in percent of the latency, that is no
	// fall: 1 to 50, 10 by default.
	// +optional
	Tolerance int32 `json:"tolerance,omitempty"`
}

// WarmUpStatus is how far the replicas of the revisions that are live are.
type WarmUpStatus struct {
	// Revision is the newest one, of which the condition Warm speaks.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Warm is how many replicas of it may serve.
	Warm int32 `json:"warm"`
	// Total is how many there are.
	Total int32 `json:"total"`
	// Replicas are at most ten, those that failed first, then those that aren't warm
	// yet, then the newest.
	// +optional
	Replicas []ReplicaWarmUp `json:"replicas,omitempty"`
	// Failure is why the newest revision does not serve; it outlives its replicas.
	// +optional
	Failure *ReplicaWarmUp `json:"failure,omitempty"`
	// ChangedBodies names the ConfigMaps whose bodies are not those any more that the
	// newest revision was made with.
	// +optional
	ChangedBodies []string `json:"changedBodies,omitempty"`
}

// ReplicaWarmUp is how far a replica is.
type ReplicaWarmUp struct {
	// Pod is the replica.
	Pod string `json:"pod"`
	// Revision it is of.
	Revision string `json:"revision"`
	// State is Waiting, Warming, Warm, Failed or ServingCold.
	State string `json:"state"`
	// Requests that were answered as expected.
	Requests int64 `json:"requests"`
	// FirstLatency is that of the first request.
	// +optional
	FirstLatency *metav1.Duration `json:"firstLatency,omitempty"`
	// LastLatency is the mean of the last round.
	// +optional
	LastLatency *metav1.Duration `json:"lastLatency,omitempty"`
	// Reason says why the state is what it is.
	// +optional
	Reason string `json:"reason,omitempty"`
}

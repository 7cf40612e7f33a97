package eventing

import (
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// ModelWarmedType is the type of the event that tells of the end of a replica's
// warm-up.
const ModelWarmedType = "dev.sluice.model.warmed.v1"

// ModelWarmed is the data of ModelWarmedType.
type ModelWarmed struct {
	// Model the replica is of.
	Model Ref `json:"model"`
	// Revision is the revision's name, Pod the replica's, in the Model's namespace.
	Revision string `json:"revision"`
	Pod      string `json:"pod"`
	// Verdict is Warm, Failed (it doesn't serve) or ServingCold.
	Verdict string `json:"verdict"`
	// Starts of the model that the replica has seen; above 1, it restarted in place.
	Starts int32 `json:"starts"`
	// Requests that were answered as expected.
	Requests int64 `json:"requests"`
	// FirstMilliseconds is the latency of the first request, LastMilliseconds the mean
	// of the last round.
	FirstMilliseconds float64 `json:"firstMilliseconds"`
	LastMilliseconds  float64 `json:"lastMilliseconds"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
	// Reason why it is not warm.
	Reason string `json:"reason,omitempty"`
	// UID of the pod.
	UID string `json:"uid"`
}

func (d ModelWarmed) subject() string { return d.Model.String() }

// NewModelWarmed returns the event.
func NewModelWarmed(d ModelWarmed) (cloudevents.Event, error) {
	source := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", d.Model.Namespace, d.Pod)
	return newEvent(ModelWarmedType, source, d, d.UID, d.Starts, d.Verdict)
}

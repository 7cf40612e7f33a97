package eventing

import (
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// LimitAppliedType is the type of the event that tells of a limit seen enforced
// on every ready gateway pod.
const LimitAppliedType = "dev.sluice.limit.applied.v1"

// LimitApplied is the data of LimitAppliedType.
type LimitApplied struct {
	// Model the limit is for.
	Model Ref `json:"model"`
	// Gateway whose pods enforce it; two during a move, joined by a comma.
	Gateway string `json:"gateway"`
	// Old and New are the limits, in requests per second, as decimal numbers; Old
	// is empty for a first limit.
	Old string `json:"old,omitempty"`
	New string `json:"new"`
	// Ready replicas, over all revisions with traffic.
	Ready int32 `json:"ready"`
	// GatewayPods is how many pods were seen to enforce it.
	GatewayPods int32 `json:"gatewayPods"`
	// Seconds since the pass that noticed the change.
	Seconds float64 `json:"seconds"`
	// Since is when the proof was complete; the status says the same, a little later.
	Since time.Time `json:"since"`
	// ResourceVersion of the limit's object that was proved, from before its status said so.
	ResourceVersion string `json:"resourceVersion"`
}

func (d LimitApplied) subject() string { return d.Model.String() }

// NewLimitApplied returns the event.
func NewLimitApplied(d LimitApplied) (cloudevents.Event, error) {
	source := "/gateways/" + d.Gateway
	return newEvent(LimitAppliedType, source, d, d.Model, d.New, d.Since.UTC().Format(time.RFC3339Nano), d.ResourceVersion)
}

// String says what happened, for a log.
func (d LimitApplied) String() string {
	return fmt.Sprintf("%s: %s → %s requests/s on %d gateway pods", d.Model, d.Old, d.New, d.GatewayPods)
}

package eventing

import (
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// RevisionScaledType is the type of the event that tells of a change in a
// revision's desired or ready replicas.
const RevisionScaledType = "dev.sluice.revision.scaled.v1"

// Scale is how many replicas a revision wants and has.
type Scale struct {
	// Desired is what its autoscaler decided.
	Desired int32 `json:"desired"`
	// Ready is how many warm replicas are in its endpoints.
	Ready int32 `json:"ready"`
}

// RevisionScaled is the data of RevisionScaledType.
type RevisionScaled struct {
	// Model the revision belongs to.
	Model Ref `json:"model"`
	// Revision is the revision's name, in the Model's namespace.
	Revision string `json:"revision"`
	Scale
	// Previous is the scale before; absent where the source doesn't know what it told last.
	Previous *Scale `json:"previous,omitempty"`
	// ResourceVersion is the newest of the objects that show the change.
	ResourceVersion string `json:"resourceVersion"`
}

func (d RevisionScaled) subject() string { return d.Model.String() }

// NewRevisionScaled returns the event.
func NewRevisionScaled(d RevisionScaled) (cloudevents.Event, error) {
	source := fmt.Sprintf("/apis/serving.knative.dev/v1/namespaces/%s/revisions/%s", d.Model.Namespace, d.Revision)
	return newEvent(RevisionScaledType, source, d, d.Desired, d.Ready, d.ResourceVersion)
}

// ParseRevisionScaled returns the data of an event, or what is wrong with it.
func ParseRevisionScaled(event cloudevents.Event) (RevisionScaled, error) {
	return parse[RevisionScaled](event, RevisionScaledType)
}

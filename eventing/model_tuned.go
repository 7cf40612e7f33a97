package eventing

import (
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// ModelTunedType is the type of the event that tells that a Model scales, or is limited, in
// another way than before.
const ModelTunedType = "dev.sluice.model.tuned.v1"

// ModelTuned is the data of ModelTunedType.
type ModelTuned struct {
	// Model that was tuned.
	Model Ref `json:"model"`
	// Who tuned it, by name, as the API server knows the user; where it was scaled, the client, as in
	// "kubectl, through scale"; empty where that isn't known.
	Who string `json:"who,omitempty"`
	// Why, as its annotation kubernetes.io/change-cause says; empty where it says nothing.
	Why string `json:"why,omitempty"`
	// Changes are what was changed, 64 settings at most.
	Changes []ChangedSetting `json:"changes"`
	// Revision counts the states of the Model's tuning, from 1. That one is kept by a
	// ControllerRevision of this name, in the Model's namespace, as one of the last ten.
	Revision           int64  `json:"revision"`
	ControllerRevision string `json:"controllerRevision"`
	// Since is when that was noted, in whole seconds.
	Since time.Time `json:"since"`
	// UID of the Model.
	UID string `json:"uid"`
}

// ChangedSetting is one that a tuning changed.
type ChangedSetting struct {
	// Setting is its path in the Model, as in spec.autoscaling.target, or in
	// metadata.annotations[autoscaling.knative.dev/window].
	Setting string `json:"setting"`
	// Old and New are its values, empty where it was or is unset. Long ones are cut.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

func (d ModelTuned) subject() string { return d.Model.String() }

// NewModelTuned returns the event.
func NewModelTuned(d ModelTuned) (cloudevents.Event, error) {
	d.Since = inSeconds(d.Since)
	source := fmt.Sprintf("/apis/sluice.dev/v1alpha1/namespaces/%s/models/%s", d.Model.Namespace, d.Model.Name)
	return newEvent(ModelTunedType, source, d, d.UID, d.Revision, d.ControllerRevision)
}

package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/reading"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// unnamed is what the name of a Batch begins with whose request says no other.
const unnamed = "batch"

// Requested is the Batch that an event of a Broker asks for, without its defaults. Its name is the
// same whenever the event is delivered. The error says which field of the data is wrong, in the words
// in which the webhook refuses a Batch; what only values are wrong in, Validate tells.
func Requested(by eventing.RequestedBroker, event cloudevents.Event) (*v1alpha1.Batch, error) {
	asked, err := eventing.ParseBatchRequested(event)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := checkLabels(asked.Labels); err != nil {
		return nil, err
	}
	spec, err := specOf(asked.Spec)
	if err != nil {
		return nil, err
	}
	name := asked.Name
	if name == "" {
		name = unnamed
	}
	id := by.RequestID(event)
	return &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{
		Namespace: by.Namespace, Name: name + "-" + id[:distinct],
		Labels:      kmeta.UnionMaps(asked.Labels, map[string]string{sluice.RequestedByLabelKey: RequestedBy(by.Name), sluice.ManagedByLabelKey: sluice.ManagedBy}),
		Annotations: map[string]string{sluice.StartedByAnnotationKey: id},
	}, Spec: *spec}, nil
}

// RequestedBy is the value of the label of what a Broker's events ask for: its name, or what is left
// of it and a hash where it is longer than a label may be.
func RequestedBy(broker string) string { return kmeta.ChildName(broker, "") }

// checkLabels keeps to Sluice what it counts Batches by.
func checkLabels(labels map[string]string) error {
	var errs []error
	for key := range labels {
		if prefix, _, _ := strings.Cut(key, "/"); prefix == sluice.GroupName || key == sluice.ManagedByLabelKey {
			errs = append(errs, fmt.Errorf("data.labels[%s]: is Sluice's own to set; leave it out", key))
		}
	}
	if wrong := metav1validation.ValidateLabels(labels, field.NewPath("data", "labels")); len(wrong) > 0 {
		errs = append(errs, wrong.ToAggregate())
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// specOf reads a Batch's spec as the webhook does: what it doesn't have is refused by its path, and
// what can't be read is explained.
func specOf(spec json.RawMessage) (*v1alpha1.BatchSpec, error) {
	object, err := json.Marshal(map[string]json.RawMessage{"spec": spec})
	if err != nil {
		return nil, fmt.Errorf("data.spec: %w", err)
	}
	b := &v1alpha1.Batch{}
	if unknown := reading.Unknown(object, b); len(unknown) > 0 {
		return nil, fmt.Errorf("data: Batch has fields that it can't have: %s", strings.Join(unknown, "; "))
	}
	if wrong := reading.Explain(object, b); wrong != nil {
		return nil, wrong.ViaField("data")
	}
	if err := json.Unmarshal(object, b); err != nil {
		return nil, fmt.Errorf("data.spec: %w", err)
	}
	if wrong := b.Spec.ValidateEnd(); wrong != nil {
		return nil, wrong.ViaField("data", "spec")
	}
	return &b.Spec, nil
}

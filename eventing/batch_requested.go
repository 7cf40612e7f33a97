package eventing

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/expression"
)

// BatchRequestedType is the type of the event by which anybody who may send to a Broker asks for a
// Batch in its namespace, where the Broker's label says that such are taken.
const BatchRequestedType = "dev.sluice.batch.requested.v1"

// maxRequestedValues bounds the values in a request: what is decoded of them takes up to some 100
// bytes each.
const maxRequestedValues = 20_000

// BatchRequested is the data of BatchRequestedType.
type BatchRequested struct {
	// Name is what the Batch's name begins with: at most 35 characters; "batch" where it is unset.
	Name string `json:"name,omitempty"`
	// Labels of the Batch, beside Sluice's own.
	Labels map[string]string `json:"labels,omitempty"`
	// Spec is the Batch's, as JSON. What it may be is the kind's to say.
	Spec json.RawMessage `json:"spec"`
}

// ParseBatchRequested returns what is asked for, or what is wrong with the event. Its subject is its
// sender's to choose, and the spec is left to whoever knows the kind.
func ParseBatchRequested(event cloudevents.Event) (BatchRequested, error) {
	var d BatchRequested
	if event.Type() != BatchRequestedType {
		return d, fmt.Errorf("type is %q, want %q", event.Type(), BatchRequestedType)
	}
	if expression.ValuesIn(event.Data(), maxRequestedValues) > maxRequestedValues {
		return d, fmt.Errorf("data: has more than %d values; ask for less in one event", maxRequestedValues)
	}
	if err := conforms(BatchRequestedType, event.Data()); err != nil {
		return d, err
	}
	if err := json.Unmarshal(event.Data(), &d); err != nil {
		return d, fmt.Errorf("data: %w", err)
	}
	return d, nil
}

// RequestedBroker is a Broker whose requests for Batches are taken.
type RequestedBroker struct {
	Ref
	UID types.UID
}

// RequestID is the id of what comes of a request: the same whenever the event is delivered, and
// another for whatever else. It is 32 hexadecimal digits.
func (b RequestedBroker) RequestID(event cloudevents.Event) string {
	source := fmt.Sprintf("/apis/eventing.knative.dev/v1/namespaces/%s/brokers/%s", b.Namespace, b.Name)
	return changeID([]any{source, b.UID, len(event.Source()), event.Source(), event.ID()})
}

// TriggerName is the name of the Trigger that delivers the requests.
func (b RequestedBroker) TriggerName() string { return kmeta.ChildName(b.Name, "-batch-requests") }

// ofBroker is what the paths begin with at which Brokers' requests are delivered, and which have one
// part more than those of InferenceTriggers.
const ofBroker = "/brokers/"

var errNoBroker = errors.New("the path is that of no Broker: it has a namespace, a name and a UID")

// IsOfBroker tells whether a path is one at which a Broker's requests are delivered.
func IsOfBroker(path string) bool {
	return strings.HasPrefix(path, ofBroker) && strings.Count(path, "/") == 4
}

// Path is where its requests are delivered. It has the UID, which only those know who may read the
// Broker, or its Trigger.
func (b RequestedBroker) Path() string {
	return fmt.Sprintf("%s%s/%s/%s", ofBroker, b.Namespace, b.Name, b.UID)
}

// ParseRequestedBroker returns whose path it is.
func ParseRequestedBroker(path string) (RequestedBroker, error) {
	parts := strings.Split(strings.TrimPrefix(path, ofBroker), "/")
	if !IsOfBroker(path) || len(parts[2]) == 0 || len(parts[2]) > longestUID ||
		len(validation.ValidateNamespaceName(parts[0], false)) > 0 || len(validation.NameIsDNSSubdomain(parts[1], false)) > 0 {
		return RequestedBroker{}, errNoBroker
	}
	return RequestedBroker{Ref: Ref{Namespace: parts[0], Name: parts[1]}, UID: types.UID(parts[2])}, nil
}

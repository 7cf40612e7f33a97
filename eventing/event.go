package eventing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// PartitionKey is the CloudEvents extension by which ordered channels keep the
// events of one subject, a Model or a Tenant, in order.
const PartitionKey = "partitionkey"

// Ref names a namespaced object of the cluster.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// data is what an event carries.
type data interface {
	// subject is the CloudEvents attribute.
	subject() string
}

// newEvent makes an event whose id follows from the state change it tells of, so
// that a repeat is recognisable.
func newEvent(eventType, source string, d data, change ...any) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	event.SetType(eventType)
	event.SetSource(source)
	event.SetSubject(d.subject())
	event.SetExtension(PartitionKey, d.subject())
	event.SetID(changeID(append([]any{source}, change...)))
	if err := event.SetData(cloudevents.ApplicationJSON, d); err != nil {
		return event, fmt.Errorf("encoding %s: %w", eventType, err)
	}
	if err := event.Validate(); err != nil {
		return event, fmt.Errorf("building %s: %w", eventType, err)
	}
	if err := conforms(eventType, event.Data()); err != nil {
		return event, fmt.Errorf("building %s: %w", eventType, err)
	}
	return event, nil
}

func changeID(change []any) string {
	parts := make([]string, len(change))
	for i, c := range change {
		parts[i] = fmt.Sprint(c)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// parse returns the data of an event of a type, or what is wrong with the event: its
// schema is the judge of its data.
func parse[T data](event cloudevents.Event, eventType string) (T, error) {
	var d T
	if err := event.Validate(); err != nil {
		return d, fmt.Errorf("not a CloudEvent: %w", err)
	}
	if event.Type() != eventType {
		return d, fmt.Errorf("type is %q, want %q", event.Type(), eventType)
	}
	if err := conforms(eventType, event.Data()); err != nil {
		return d, err
	}
	if err := event.DataAs(&d); err != nil {
		return d, fmt.Errorf("decoding data: %w", err)
	}
	if event.Subject() != d.subject() {
		return d, fmt.Errorf("subject is %q, but data is of %q", event.Subject(), d.subject())
	}
	if key := event.Extensions()[PartitionKey]; key != d.subject() {
		return d, fmt.Errorf("%s is %q, but data is of %q", PartitionKey, key, d.subject())
	}
	return d, nil
}

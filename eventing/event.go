package eventing

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// Schemas holds the JSON schema of each event's data, under schemas/<type>.json.
//
//go:embed schemas/*.json
var schemas embed.FS

// Schema returns the JSON schema of a type's data.
func Schema(eventType string) ([]byte, error) {
	content, err := fs.ReadFile(schemas, "schemas/"+eventType+".json")
	if err != nil {
		return nil, fmt.Errorf("no schema for event type %q", eventType)
	}
	return content, nil
}

// PartitionKey is the CloudEvents extension by which ordered channels keep the
// events of one subject, a Model or a Tenant, in order.
const PartitionKey = "partitionkey"

// Ref names a namespaced object of the cluster.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// validate says which part of the reference is missing.
func (r Ref) validate(field string) error {
	var errs []error
	if r.Namespace == "" {
		errs = append(errs, fmt.Errorf("%s.namespace is missing", field))
	}
	if r.Name == "" {
		errs = append(errs, fmt.Errorf("%s.name is missing", field))
	}
	return errors.Join(errs...)
}

// newEvent makes an event whose id follows from the state change it tells of, so
// that a repeat is recognisable.
func newEvent(eventType, source, subject string, data any, change ...any) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	event.SetType(eventType)
	event.SetSource(source)
	event.SetSubject(subject)
	event.SetExtension(PartitionKey, subject)
	event.SetID(changeID(change))
	if err := event.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return event, fmt.Errorf("encoding %s: %w", eventType, err)
	}
	if err := event.Validate(); err != nil {
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

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// digest is how many bytes of a record's hash its event's id has.
const digest = 16

// notification is what a store sends. Event is of one that it sends to see whether anybody
// listens, which has no records.
type notification struct {
	Event   string            `json:"Event"`
	Records []json.RawMessage `json:"Records"`
}

// record is what an event's attributes are made of.
type record struct {
	EventSource string    `json:"eventSource"`
	AwsRegion   string    `json:"awsRegion"`
	EventTime   time.Time `json:"eventTime"`
	EventName   string    `json:"eventName"`
	S3          struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key string `json:"key"`
		} `json:"object"`
	} `json:"s3"`
}

// eventsOf are the events that a notification is of; none where a store only tries whether
// anybody listens. The error names the field that is none.
func eventsOf(body []byte) ([]cloudevents.Event, error) {
	var n notification
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("reading an S3 notification: %w", err)
	}
	if len(n.Records) == 0 && n.Event == "" {
		return nil, errors.New("it has neither Records nor Event, and is no S3 notification")
	}
	var events []cloudevents.Event
	for i, raw := range n.Records {
		event, err := eventOf(raw)
		if err != nil {
			return nil, fmt.Errorf("in Records[%d]: %w", i, err)
		}
		events = append(events, event)
	}
	return events, nil
}

func eventOf(raw json.RawMessage) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return event, err
	}
	for _, field := range []struct{ name, value string }{
		{"eventSource", r.EventSource}, {"awsRegion", r.AwsRegion}, {"eventName", r.EventName},
		{"s3.bucket.name", r.S3.Bucket.Name}, {"s3.object.key", r.S3.Object.Key},
	} {
		if field.value == "" {
			return event, fmt.Errorf("%s is empty", field.name)
		}
	}
	sum := sha256.Sum256(raw)
	event.SetID(hex.EncodeToString(sum[:digest]))
	event.SetType("com.amazonaws.s3." + strings.TrimPrefix(r.EventName, "s3:"))
	event.SetSource(strings.Join([]string{r.EventSource, r.AwsRegion, r.S3.Bucket.Name}, "."))
	event.SetSubject(r.S3.Object.Key)
	event.SetTime(r.EventTime)
	if err := event.SetData(cloudevents.ApplicationJSON, raw); err != nil {
		return event, fmt.Errorf("taking it for an event's data: %w", err)
	}
	return event, event.Validate()
}

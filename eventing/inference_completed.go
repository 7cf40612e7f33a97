package eventing

import (
	"fmt"
	"mime"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/types"
)

const (
	// CausationID is the extension of a reply that has the id of the event that it answers.
	CausationID = "causationid"
	// CausationSource is the extension of a reply that has that event's source.
	CausationSource = "causationsource"
	// Hops is the extension of a reply that has how many replies led to it, itself among them.
	Hops = "sluicehops"
	// MostHops is the most that a reply may have: InferenceTriggers that answer each other's replies
	// would ask Models without end, and each more often than the last.
	MostHops = 8
	// correlationID is CloudEvents' own extension, which goes on from event to event.
	correlationID = "correlationid"
)

// handedOn are the extensions of an event that its reply has, too.
var handedOn = []string{PartitionKey, correlationID, "traceparent", "tracestate"}

// Answer is what a Model answered.
type Answer struct {
	// Type of the reply.
	Type string
	// ContentType of the body; "" where the Model didn't say.
	ContentType string
	Body        []byte
}

// NewInferenceCompleted returns the reply to an event of fewer hops than MostHops. Its data is the Model's answer, so no
// schema of ours is its judge.
func NewInferenceCompleted(t InferenceTrigger, to cloudevents.Event, a Answer) (cloudevents.Event, error) {
	reply := cloudevents.NewEvent()
	reply.SetType(a.Type)
	reply.SetSource(t.Source())
	reply.SetID(t.AnswerID(to))
	if to.Subject() != "" {
		reply.SetSubject(to.Subject())
	}
	for _, name := range handedOn {
		if value, ok := to.Extensions()[name]; ok {
			reply.SetExtension(name, value)
		}
	}
	if _, ok := reply.Extensions()[PartitionKey]; !ok {
		// What is about one subject stays in order; what is about none needs none.
		key := to.Subject()
		if key == "" {
			key = to.ID()
		}
		reply.SetExtension(PartitionKey, key)
	}
	reply.SetExtension(CausationID, to.ID())
	reply.SetExtension(CausationSource, to.Source())
	reply.SetExtension(Hops, HopsOf(to)+1)
	if len(a.Body) > 0 {
		if err := reply.SetData(dataContentType(a.ContentType), a.Body); err != nil {
			return reply, fmt.Errorf("encoding %s: %w", a.Type, err)
		}
	}
	if err := reply.Validate(); err != nil {
		return reply, fmt.Errorf("building %s: %w", a.Type, err)
	}
	return reply, nil
}

// HopsOf is how many replies led to an event, itself among them; 0 for one that is none.
func HopsOf(event cloudevents.Event) int32 {
	hops, err := types.ToInteger(event.Extensions()[Hops])
	if err != nil || hops < 0 { // a sender's invention
		return 0
	}
	return hops
}

// dataContentType is what an event may say of its data, given what a Model says: bytes where that
// is nothing, or is none. An event whose data is said to be an event, or several, would be taken
// for what its data has, with the Model's own words for its type, source and id.
func dataContentType(says string) string {
	if media, _, err := mime.ParseMediaType(says); err == nil && !format.IsFormat(media) {
		return says
	}
	return "application/octet-stream"
}

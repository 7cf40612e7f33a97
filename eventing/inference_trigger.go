package eventing

import (
	"errors"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// TriggersAudience is whom the tokens are for that come with events for InferenceTriggers, where
// Knative Eventing authenticates.
const TriggersAudience = "sluice.dev/triggers"

// FunctionSubscriber is the subscriber of a Trigger whose events go to a path of the function, which
// is at a URL, with tokens for it.
func FunctionSubscriber(function, path string) (duckv1.Destination, error) {
	to, err := apis.ParseURL(function + path)
	if err != nil {
		return duckv1.Destination{}, fmt.Errorf("reading the function's URL: %w", err)
	}
	audience := TriggersAudience
	return duckv1.Destination{URI: to, Audience: &audience}, nil
}

// InferenceTrigger is who answers events.
type InferenceTrigger struct {
	Ref
	UID types.UID
}

// Source is that of its replies.
func (t InferenceTrigger) Source() string {
	return fmt.Sprintf("/apis/sluice.dev/v1alpha1/namespaces/%s/inferencetriggers/%s", t.Namespace, t.Name)
}

// AnswerID is the id of what comes of an event: the same whenever the event is delivered, and
// another for whatever else. It is 32 hexadecimal digits.
func (t InferenceTrigger) AnswerID(event cloudevents.Event) string {
	return changeID([]any{t.Source(), t.UID, len(event.Source()), event.Source(), event.ID()})
}

var errNoTrigger = errors.New("the path is that of no InferenceTrigger: it has a namespace, a name and a UID")

// longestUID bounds what a path may name.
const longestUID = 63

// Path is where its events are delivered. It has the UID, which only those know who may read the
// InferenceTrigger, or its Trigger.
func (t InferenceTrigger) Path() string {
	return fmt.Sprintf("/%s/%s/%s", t.Namespace, t.Name, t.UID)
}

// ParseInferenceTrigger returns whose path it is.
func ParseInferenceTrigger(path string) (InferenceTrigger, error) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 3 || len(parts[2]) == 0 || len(parts[2]) > longestUID ||
		len(validation.IsDNS1123Label(parts[0])) > 0 || len(validation.IsDNS1123Label(parts[1])) > 0 {
		return InferenceTrigger{}, errNoTrigger
	}
	return InferenceTrigger{Ref: Ref{Namespace: parts[0], Name: parts[1]}, UID: types.UID(parts[2])}, nil
}

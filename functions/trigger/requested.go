package trigger

import (
	"context"
	"fmt"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/functions/trigger/mapping"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// reasonRefused is that of the event which tells of a Broker that a request was refused.
const reasonRefused = "BatchRefused"

// findBroker finds the Broker whose requests a path is for. A Trigger that is left over, of one that
// takes none any more, starts nothing.
func (f *Function) findBroker(path string) (*receiver.Addressee, receiver.Answer) {
	named, err := eventing.ParseRequestedBroker(path)
	if err != nil {
		return nil, gone(err)
	}
	broker, err := f.Broker(named.Namespace, named.Name)
	switch {
	case apierrs.IsNotFound(err), err == nil && (broker.UID != named.UID || broker.DeletionTimestamp != nil):
		return nil, gone(fmt.Errorf("there is no Broker %s of UID %s whose label %s is true", named.Ref, named.UID, sluice.BatchRequestsLabelKey))
	case err != nil:
		return nil, later(fmt.Errorf("getting Broker %s: %w", named.Ref, err))
	case broker.Labels[sluice.BatchRequestsLabelKey] != sluice.BatchRequestsTaken:
		return nil, gone(fmt.Errorf("the label %s of Broker %s isn't %s", sluice.BatchRequestsLabelKey, named.Ref, sluice.BatchRequestsTaken))
	}
	return &receiver.Addressee{
		Key: string(broker.UID), Name: "Broker " + named.String(),
		Answer: valid(func(ctx context.Context, _ *http.Request, event cloudevents.Event) receiver.Answer {
			answer := f.request(ctx, named, event)
			if answer.Outcome == refused {
				f.tellRefused(broker, event, answer.Why)
			}
			return answer
		}),
	}, receiver.Answer{}
}

// request starts the Batch that an event asks for.
func (f *Function) request(ctx context.Context, by eventing.RequestedBroker, event cloudevents.Event) receiver.Answer {
	if event.Type() != eventing.BatchRequestedType {
		return unfit(fmt.Errorf("type is %q, and only %s asks for a Batch", event.Type(), eventing.BatchRequestedType))
	}
	b, err := mapping.Requested(by, event)
	if err != nil {
		return unfit(err)
	}
	return f.start(ctx, starter{name: "Broker " + by.String(), label: sluice.RequestedByLabelKey, field: "data"}, b)
}

// tellRefused tells of a request that goes to the dead letter. Nobody who has sent one has an object
// whose status could say it.
func (f *Function) tellRefused(broker *eventingv1.Broker, event cloudevents.Event, why string) {
	f.Tell(broker, reasonRefused, brief(fmt.Sprintf("Event %.100q of %.100q: %s", event.ID(), event.Source(), why)))
}

package resources

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Trigger delivers a Broker's requests for Batches to the function, which is at a URL. It has what
// Knative's webhook would add to it, so that it is written once; how often the Broker delivers again,
// and what it does then, is the Broker's own.
func Trigger(b *eventingv1.Broker, function string) (*eventingv1.Trigger, error) {
	of := eventing.RequestedBroker{Ref: eventing.Ref{Namespace: b.Namespace, Name: b.Name}, UID: b.UID}
	subscriber, err := eventing.FunctionSubscriber(function, of.Path())
	if err != nil {
		return nil, err
	}
	out := &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Namespace, Name: of.TriggerName(),
			Labels:          map[string]string{sluice.BatchRequestsLabelKey: sluice.BatchRequestsTaken, sluice.ManagedByLabelKey: sluice.ManagedBy},
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(b)},
		},
		Spec: eventingv1.TriggerSpec{
			Broker:     b.Name,
			Filters:    []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"type": eventing.BatchRequestedType}}},
			Subscriber: subscriber,
		},
	}
	out.SetDefaults(context.Background())
	return out, nil
}

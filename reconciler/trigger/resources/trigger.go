package resources

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// ReplyName is the name of the Trigger that delivers replies to a sink.
func ReplyName(t *v1alpha1.InferenceTrigger) string { return kmeta.ChildName(t.Name, "-reply") }

// Trigger delivers the events to the function, which is at a URL. It has the InferenceTrigger's
// name, by which the function knows whose token an event has to come with.
func Trigger(t *v1alpha1.InferenceTrigger, function string) (*eventingv1.Trigger, error) {
	subscriber, err := eventing.FunctionSubscriber(function, of(t).Path())
	if err != nil {
		return nil, err
	}
	return built(t, t.Name, eventingv1.TriggerSpec{
		Filter: t.Spec.Filter, Filters: t.Spec.Filters, Delivery: t.Spec.Delivery,
		Subscriber: subscriber,
	}), nil
}

// ReplyTrigger delivers the replies to the sink.
func ReplyTrigger(t *v1alpha1.InferenceTrigger) *eventingv1.Trigger {
	return built(t, ReplyName(t), eventingv1.TriggerSpec{
		Filters:    []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"source": of(t).Source(), "type": t.Spec.Reply.Type}}},
		Subscriber: *t.Spec.Reply.Sink, Delivery: t.Spec.Delivery,
	})
}

// built is a Trigger with what Knative's webhook would add to it, so that it is written once.
func built(t *v1alpha1.InferenceTrigger, name string, spec eventingv1.TriggerSpec) *eventingv1.Trigger {
	spec.Broker = t.Spec.Broker
	out := &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.Namespace, Name: name,
			Labels:          map[string]string{sluice.TriggerLabelKey: t.Name, sluice.ManagedByLabelKey: sluice.ManagedBy},
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(t)},
		},
		Spec: *spec.DeepCopy(),
	}
	out.SetDefaults(context.Background())
	return out
}

func of(t *v1alpha1.InferenceTrigger) eventing.InferenceTrigger {
	return eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: t.Namespace, Name: t.Name}, UID: t.UID}
}

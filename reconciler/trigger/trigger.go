package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingclientset "knative.dev/eventing/pkg/client/clientset/versioned"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/expression"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/spelling"
	triggerreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/inferencetrigger"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/trigger/resources"
)

// Reconciler keeps the Triggers of InferenceTriggers.
type Reconciler struct {
	eventing eventingclientset.Interface
	// triggers are those that Sluice has made.
	triggers eventinglisters.TriggerLister
	models   sluicelisters.ModelLister
	// function is the URL of what events are delivered to.
	function string
}

var _ triggerreconciler.Interface = (*Reconciler)(nil)

// ReconcileKind implements triggerreconciler.Interface. Events are taken whether or not the Model
// is there: the Broker delivers them again until it is, and keeps what it gives up.
func (r *Reconciler) ReconcileKind(ctx context.Context, t *v1alpha1.InferenceTrigger) reconciler.Event {
	ctx, cancel := context.WithTimeout(ctx, reconciler.DefaultTimeout)
	defer cancel()

	// What the webhook refuses, where it wasn't asked.
	if refusal := t.Validate(ctx).Filter(apis.ErrorLevel); refusal != nil {
		t.Status.MarkInvalid("Correct the InferenceTrigger: " + strings.TrimSuffix(refusal.Error(), ".") + ".")
		return nil
	}
	return errors.Join(r.subscribe(ctx, t), r.deliverReplies(ctx, t), r.lookAtModel(t))
}

// subscribe has the Broker deliver events to the function.
func (r *Reconciler) subscribe(ctx context.Context, t *v1alpha1.InferenceTrigger) error {
	desired, err := resources.Trigger(t, r.function)
	if err != nil {
		return controller.NewPermanentError(err)
	}
	return r.keep(ctx, t, v1alpha1.InferenceTriggerConditionSubscribed, desired)
}

// deliverReplies has the Broker deliver replies to the sink, where there is one.
func (r *Reconciler) deliverReplies(ctx context.Context, t *v1alpha1.InferenceTrigger) error {
	if reply := t.Spec.Reply; t.Spec.Request != nil && reply != nil && reply.To == v1alpha1.ReplyToSink {
		return r.keep(ctx, t, v1alpha1.InferenceTriggerConditionReplyDelivered, resources.ReplyTrigger(t))
	}
	if _, err := r.kind(t).Remove(ctx, resources.ReplyName(t)); err != nil {
		return err
	}
	t.Status.MarkNoSink()
	return nil
}

// keep has a Trigger be as it should, and takes over what Knative says of it.
func (r *Reconciler) keep(ctx context.Context, t *v1alpha1.InferenceTrigger, of apis.ConditionType, desired *eventingv1.Trigger) error {
	kept, _, err := r.kind(t).Ensure(ctx, desired)
	var other *accessor.NotOwnedError
	switch {
	case errors.As(err, &other):
		t.Status.MarkTriggerNotOwned(of, desired.Name)
		return controller.NewPermanentError(err)
	case err != nil:
		t.Status.MarkTriggerNotWritten(of, desired.Name, err)
		return err
	}
	t.Status.PropagateTrigger(of, kept)
	return nil
}

func (r *Reconciler) kind(t *v1alpha1.InferenceTrigger) accessor.Kind[*eventingv1.Trigger] {
	return accessor.Kind[*eventingv1.Trigger]{
		Name:   "Trigger",
		Get:    r.triggers.Triggers(t.Namespace).Get,
		Client: r.eventing.EventingV1().Triggers(t.Namespace),
		Owner:  accessor.ControlledBy(t),
		Content: accessor.Content[*eventingv1.Trigger]{Adopt: func(existing, desired *eventingv1.Trigger) {
			existing.Spec = desired.Spec
		}},
	}
}

// lookAtModel says whether the Model can be asked.
func (r *Reconciler) lookAtModel(t *v1alpha1.InferenceTrigger) error {
	field, name := "spec.model", t.Spec.Model
	if t.Spec.Batch != nil {
		field, name = "spec.batch.template.spec.model", t.Spec.Batch.Template.Spec.Model
	}
	if expression.Has(name) {
		t.Status.MarkModelByEvent()
		return nil
	}
	model, err := r.models.Models(t.Namespace).Get(name)
	switch {
	case apierrs.IsNotFound(err) || err == nil && model.DeletionTimestamp != nil:
		near, err := r.nearest(t.Namespace, name)
		if err != nil {
			return err
		}
		says := fmt.Sprintf("There is no Model %q in namespace %q.", name, t.Namespace)
		if near != "" {
			says += fmt.Sprintf(" Did you mean %q?", near)
		}
		t.Status.MarkModelMissing(says + " Create it, or correct " + field + ". Until then events are delivered again, as spec.delivery says.")
	case err != nil:
		return fmt.Errorf("getting Model %q: %w", name, err)
	case model.AskedAt() == "":
		t.Status.MarkModelNotReady(fmt.Sprintf("Model %q has no address yet: events for it are delivered again until it has.", name) + model.SaysOfItself())
	case model.Status.GetCondition(v1alpha1.ModelConditionReady).IsFalse():
		t.Status.MarkModelNotReady(fmt.Sprintf("Model %q has an address and isn't Ready: events that it doesn't answer are delivered again.", name) + model.SaysOfItself())
	default:
		t.Status.MarkModelReady()
	}
	return nil
}

// nearest is the Model that was meant by a name that is none's; "" where that can't be told.
func (r *Reconciler) nearest(namespace, name string) (string, error) {
	models, err := r.models.Models(namespace).List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("listing the Models of the namespace: %w", err)
	}
	return spelling.NearestOf(name, models), nil
}

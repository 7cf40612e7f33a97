package broker

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingclientset "knative.dev/eventing/pkg/client/clientset/versioned"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	"knative.dev/pkg/controller"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/broker/resources"
)

// The reasons of the events that are told of a Broker.
const (
	reasonTaken    = "BatchRequestsTaken"
	reasonInvalid  = "BatchRequestsInvalid"
	reasonNotTaken = "BatchRequestsNotTaken"
)

// Reconciler keeps the Triggers of Brokers whose requests for Batches are taken.
type Reconciler struct {
	pkgreconciler.LeaderAwareFuncs

	eventing eventingclientset.Interface
	// brokers are those that have the label, triggers those that Sluice has made for them.
	brokers  eventinglisters.BrokerLister
	triggers eventinglisters.TriggerLister
	recorder record.EventRecorder
	// function is the URL of what requests are delivered to.
	function string
}

var (
	_ controller.Reconciler     = (*Reconciler)(nil)
	_ pkgreconciler.LeaderAware = (*Reconciler)(nil)
)

// Reconcile has a Broker's Trigger be there if the Broker's label says that requests are taken, and
// be gone if it doesn't.
func (r *Reconciler) Reconcile(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return controller.NewPermanentError(fmt.Errorf("reading a key: %w", err))
	}
	if !r.IsLeaderFor(types.NamespacedName{Namespace: namespace, Name: name}) {
		return controller.NewSkipKey(key)
	}
	ctx, cancel := context.WithTimeout(ctx, pkgreconciler.DefaultTimeout)
	defer cancel()
	b, err := r.brokers.Brokers(namespace).Get(name)
	switch {
	case apierrs.IsNotFound(err):
		return r.close(ctx, namespace, name)
	case err != nil:
		return fmt.Errorf("getting Broker %s: %w", key, err)
	case b.DeletionTimestamp != nil:
		return nil // what it owns goes with it
	}
	switch says := b.Labels[sluice.BatchRequestsLabelKey]; says {
	case sluice.BatchRequestsTaken:
		return r.open(ctx, b)
	case sluice.BatchRequestsNotTaken:
	default:
		r.recorder.Eventf(b, corev1.EventTypeWarning, reasonInvalid, "The label %s is %q, so no requests for Batches are taken: set it to %q, or take it away",
			sluice.BatchRequestsLabelKey, says, sluice.BatchRequestsTaken)
	}
	return r.close(ctx, namespace, name)
}

// open has the Broker deliver requests to the function.
func (r *Reconciler) open(ctx context.Context, b *eventingv1.Broker) error {
	desired, err := resources.Trigger(b, r.function)
	if err != nil {
		return controller.NewPermanentError(err)
	}
	before, err := r.triggers.Triggers(b.Namespace).Get(desired.Name)
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("getting Trigger %s: %w", desired.Name, err)
	}
	_, changed, err := r.kind(b.Namespace, accessor.ControlledBy(b)).Ensure(ctx, desired)
	var other *accessor.NotOwnedError
	switch {
	case errors.As(err, &other):
		r.recorder.Eventf(b, corev1.EventTypeWarning, reasonNotTaken, "No requests for Batches are taken: %v", err)
		return controller.NewPermanentError(err)
	case apierrs.IsInvalid(err) || apierrs.IsBadRequest(err) || apierrs.IsForbidden(err):
		r.recorder.Eventf(b, corev1.EventTypeWarning, reasonNotTaken, "No requests for Batches are taken, Knative refuses Trigger %q: %v", desired.Name, err)
		return err
	case err != nil:
		return err
	case changed && before == nil:
		r.recorder.Eventf(b, corev1.EventTypeNormal, reasonTaken, "Who may send to this Broker may start Batches in its namespace, by events of type %s", eventing.BatchRequestedType)
	}
	return nil
}

// close has it deliver none any more.
func (r *Reconciler) close(ctx context.Context, namespace, name string) error {
	trigger := eventing.RequestedBroker{Ref: eventing.Ref{Namespace: namespace, Name: name}}.TriggerName()
	_, err := r.kind(namespace, ofBroker(name)).Remove(ctx, trigger)
	return err
}

// ofBroker owns what is of a Broker of a name, which may have gone.
func ofBroker(name string) accessor.Owner {
	return accessor.Owner{Owns: func(object metav1.Object) bool {
		owner := metav1.GetControllerOf(object)
		return owner != nil && owner.Kind == "Broker" && owner.Name == name
	}}
}

func (r *Reconciler) kind(namespace string, owner accessor.Owner) accessor.Kind[*eventingv1.Trigger] {
	return accessor.Kind[*eventingv1.Trigger]{
		Name:   "Trigger",
		Get:    r.triggers.Triggers(namespace).Get,
		Client: r.eventing.EventingV1().Triggers(namespace),
		Owner:  owner,
		Content: accessor.Content[*eventingv1.Trigger]{Adopt: func(existing, desired *eventingv1.Trigger) {
			existing.Spec = desired.Spec
		}},
	}
}

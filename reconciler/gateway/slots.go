package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/gateway/resources"
)

// ensureSlots returns errSlotsMissing while any slot of the pods to come has no content:
// they would neither listen nor become ready.
func (r *Reconciler) ensureSlots(ctx context.Context, gw resources.Gateway) error {
	var missing []string
	for slot := range gw.Slots {
		name := gateway.SlotObjectName(gw.Name, gw.Slots, slot)
		_, err := r.slots.Get(name)
		if apierrs.IsNotFound(err) {
			missing = append(missing, name)
		} else if err != nil {
			return fmt.Errorf("getting slot %s: %w", name, err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := r.deployments.Deployments(gateway.Namespace).Get(gw.Name); err == nil {
		// Running pods keep their last limits; new ones fail closed.
		logging.FromContext(ctx).Warnf("Gateway %s runs, but slots %q are gone: new pods won't become ready", gw.Name, missing)
	}
	return fmt.Errorf("%w: %d of them, first %s", errSlotsMissing, len(missing), missing[0])
}

// retireSlots removes what pods with another number of slots had, once there are none
// and can be none: first what inserts the slots, by which the limiter knows that they
// are needed, and then the slots.
func (r *Reconciler) retireSlots(ctx context.Context, gw resources.Gateway) error {
	if rolled, err := r.rolled(gw); err != nil || !rolled {
		return err // each change of a pod or of the Deployment brings the gateway back
	}
	filters, err := r.envoyFilters.EnvoyFilters(gateway.Namespace).List(of(gw.Name))
	if err != nil {
		return fmt.Errorf("listing the EnvoyFilters of gateway %s: %w", gw.Name, err)
	}
	var errs []error
	inserting := slices.DeleteFunc(slices.Clone(filters), func(f *istiov1alpha3.EnvoyFilter) bool { return !former(f, gw) })
	for _, f := range inserting {
		_, err := r.envoyFilterKind(gw.Name).Remove(ctx, f.Name)
		errs = append(errs, err)
	}
	if len(inserting) > 0 {
		return errors.Join(errs...)
	}
	return r.removeSlots(ctx, gw.Name, func(slot metav1.Object) bool { return former(slot, gw) })
}

// former is true for what is for another number of slots than a gateway's present one.
func former(object metav1.Object, gw resources.Gateway) bool {
	n := gateway.SlotsOf(object.GetLabels())
	return n != 0 && n != gw.Slots
}

// removeSlots deletes those of a gateway's slots that are chosen.
func (r *Reconciler) removeSlots(ctx context.Context, name string, chosen func(metav1.Object) bool) error {
	slots, err := r.slots.List(of(name))
	if err != nil {
		return fmt.Errorf("listing the slots of gateway %s: %w", name, err)
	}
	var errs []error
	for _, slot := range slots {
		if chosen(slot) {
			_, err := r.slotKind(name).Remove(ctx, slot.Name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// rolled is true once all pods of a gateway have its present number of slots, and its
// Deployment makes no others.
func (r *Reconciler) rolled(gw resources.Gateway) (bool, error) {
	pods, err := r.pods.Pods(gateway.Namespace).List(of(gw.Name))
	if err != nil {
		return false, fmt.Errorf("listing the pods of gateway %s: %w", gw.Name, err)
	}
	d, err := r.deployments.Deployments(gateway.Namespace).Get(gw.Name)
	if apierrs.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("getting the Deployment of gateway %s: %w", gw.Name, err)
	}
	others := slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return gateway.SlotsOf(p.Labels) != gw.Slots })
	return !others && settled(d) && gateway.SlotsOf(d.Spec.Template.Labels) == gw.Slots, nil
}

// settled is true once a Deployment has no pods but those of its present template, and
// will make no others.
func settled(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == d.Status.Replicas
}

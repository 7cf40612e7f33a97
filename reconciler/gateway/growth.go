package gateway

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/gateway/resources"
)

// Slots become more when their limits claim growAbove of their room, and fewer again
// when they would claim less than shrinkBelow of what is left.
const growAbove, shrinkBelow = 0.6, 0.4

// slotsFor is how many slots a gateway of present ones needs for limits that claim so
// many bytes together: at least as many as the configuration says, doubled until they
// have room to spare, and at most gateway.MaxSlots. Limits are spread by the hash of
// their names, so each slot has about as much.
func slotsFor(least, present, claimed int) int {
	n := least
	for n < gateway.MaxSlots {
		most := growAbove
		if n < present {
			most = shrinkBelow
		}
		if float64(claimed) <= most*float64(n)*gateway.SlotBytes {
			return n
		}
		n = min(2*n, gateway.MaxSlots)
	}
	return n
}

// slotsOf returns how many slots a gateway is to have, by what its limits claim of those
// that its pods are made with now. While one of those is missing, it has no fewer.
func (r *Reconciler) slotsOf(name string, least int) (int, error) {
	d, err := r.deployments.Deployments(gateway.Namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return least, nil
	} else if err != nil {
		return 0, fmt.Errorf("getting the Deployment of gateway %s: %w", name, err)
	}
	present := gateway.SlotsOf(d.Spec.Template.Labels)
	slots, err := r.slots.List(labels.SelectorFromSet(gateway.PodSelector(name, present)))
	if err != nil {
		return 0, fmt.Errorf("listing the slots of gateway %s: %w", name, err)
	}
	if len(slots) < present {
		return max(least, present), nil
	}
	claimed := 0
	for _, slot := range slots {
		claimed += gateway.ClaimedOf(slot.Annotations)
	}
	n := slotsFor(least, present, claimed)
	if n <= max(least, present) {
		return n, nil
	}
	_, err = r.envoyFilters.EnvoyFilters(gateway.Namespace).Get(resources.FiltersName(name, n))
	if apierrs.IsNotFound(err) { // it begins now
		r.recorder.Eventf(d, corev1.EventTypeNormal, "SlotsGrow", "Limits claim %d bytes of the %d that %d slots have room for: "+
			"%d slots are made, and then pods are replaced one by one", claimed, present*gateway.SlotBytes, present, n)
	}
	return n, nil
}

// claimsOther is true if a slot's limits claim something else than before.
func claimsOther(before any, after metav1.Object) bool {
	was, ok := before.(metav1.Object)
	return !ok || was.GetAnnotations()[gateway.ClaimedAnnotationKey] != after.GetAnnotations()[gateway.ClaimedAnnotationKey]
}

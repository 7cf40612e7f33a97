package ingress

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// readSplit reads by what an Ingress' requests are to be split. What can't be read
// leaves them split by chance.
func (s *serving) readSplit() {
	key, err := sluicev1alpha1.ParseSplitKey(s.Annotations[sluice.SplitByAnnotationKey])
	if err != nil {
		s.problem = &resources.Problem{Reason: "SplitByInvalid", Message: fmt.Sprintf(
			"Annotation %s, by which requests are split by chance for now: %v", sluice.SplitByAnnotationKey, err)}
		return
	}
	s.splitBy = key
}

// reconcileSplit writes the EnvoyFilter that splits an Ingress' requests, or deletes it.
func (r *Reconciler) reconcileSplit(ctx context.Context, s *serving) error {
	if s.splitBy == nil {
		var err error
		s.resplit, err = r.deleteSplit(ctx, keyOf(s.Ingress))
		return err
	}
	desired, err := resources.SplitFilter(s.Ingress, s.binding())
	if err != nil {
		return err
	}
	existing, err := r.splits.EnvoyFilters(gateway.Namespace).Get(desired.Name)
	if apierrs.IsNotFound(err) {
		existing, err = nil, nil
	}
	if err == nil {
		s.resplit, err = r.writeSplit(ctx, existing, desired)
	}
	if err != nil {
		return fmt.Errorf("reconciling envoy filter %s: %w", desired.Name, err)
	}
	return nil
}

// writeSplit tells whether there was anything to write.
func (r *Reconciler) writeSplit(ctx context.Context, existing, desired *istiov1alpha3.EnvoyFilter) (bool, error) {
	client := r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	switch {
	case existing == nil:
		if _, err := client.Create(ctx, desired, metav1.CreateOptions{}); err != nil && !ownWrite(err) {
			return false, fmt.Errorf("creating it: %w", err)
		}
		return true, nil
	case !proto.Equal(&existing.Spec, &desired.Spec) || !resources.SameLabels(existing.Labels, desired.Labels):
		updated := existing.DeepCopy()
		desired.Spec.DeepCopyInto(&updated.Spec)
		updated.Labels = desired.Labels
		if _, err := client.Update(ctx, updated, metav1.UpdateOptions{}); err != nil && !ownWrite(err) {
			return false, fmt.Errorf("updating it: %w", err)
		}
		return true, nil
	}
	return false, nil
}

// deleteSplit tells whether there was anything to delete.
func (r *Reconciler) deleteSplit(ctx context.Context, ing types.NamespacedName) (bool, error) {
	name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	if _, err := r.splits.EnvoyFilters(gateway.Namespace).Get(name); apierrs.IsNotFound(err) {
		return false, nil
	}
	err := r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrs.IsNotFound(err) {
		return false, fmt.Errorf("deleting envoy filter %s: %w", name, err)
	}
	return true, nil
}

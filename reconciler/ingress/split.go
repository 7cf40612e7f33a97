package ingress

import (
	"context"
	"fmt"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// readSplit reads by what an Ingress' requests are to be split. What can't be read
// leaves them split by chance.
func (s *asked) readSplit() {
	key, err := sluicev1alpha1.ParseSplitKey(s.Annotations[sluice.SplitByAnnotationKey])
	if err != nil {
		s.unsplit = &resources.Problem{Reason: "SplitByInvalid", Message: fmt.Sprintf(
			"Annotation %s, by which requests are split by chance for now: %v", sluice.SplitByAnnotationKey, err)}
		return
	}
	s.splitBy = key
}

// reconcileSplit writes the EnvoyFilter that splits an Ingress' requests, or deletes it.
func (r *Reconciler) reconcileSplit(ctx context.Context, e *exposed) (*whole, error) {
	splits := r.splitKind()
	if e.splitBy == nil {
		gone, err := splits.Remove(ctx, gateway.VirtualServiceName(e.Namespace, e.Name))
		return &whole{exposed: *e, resplit: !gone}, err
	}
	desired, err := resources.SplitFilter(e.Ingress, e.binding())
	if err != nil {
		return nil, err
	}
	_, resplit, err := splits.Ensure(ctx, desired)
	return &whole{exposed: *e, resplit: resplit}, unlessOvertaken(err)
}

package batch

import (
	"context"
	"fmt"
	"strings"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/spelling"
)

// hold is what keeps a run from going on, and what is to be done. It has no pods then, and
// loses nothing.
type hold struct{ reason, message string }

// look finds out who is asked, and whether the run may go on.
func (r *Reconciler) look(b *v1alpha1.Batch) (*pass, error) {
	p := &pass{Batch: b}
	if b.Spec.Suspend {
		p.hold = &hold{reasonSuspended, "spec.suspend is true: the run has no pods. Set it to false, and it goes on."}
	}
	model, err := r.models.Models(b.Namespace).Get(b.Spec.Model)
	switch {
	case err == nil && canBeAsked(model):
		p.model = model.AskedAt()
		return p, nil
	case err != nil && !apierrs.IsNotFound(err):
		return nil, fmt.Errorf("getting Model %q: %w", b.Spec.Model, err)
	case p.hold != nil:
	case err == nil && model.DeletionTimestamp == nil:
		p.hold = &hold{reasonModelNotReady, fmt.Sprintf("Model %q has no address yet.", model.Name) + model.SaysOfItself()}
	default:
		p.hold, err = r.withoutModel(b)
		return p, err
	}
	return p, nil
}

// withoutModel is the hold of a run whose Model isn't there, or is going.
func (r *Reconciler) withoutModel(b *v1alpha1.Batch) (*hold, error) {
	models, err := r.models.Models(b.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing the Models of the namespace: %w", err)
	}
	says := fmt.Sprintf("There is no Model %q in namespace %q.", b.Spec.Model, b.Namespace)
	near := spelling.NearestOf(b.Spec.Model, models)
	switch {
	case b.Status.HasBegun():
		says += " Create it again, and the run goes on where it was; or delete the Batch."
	case near != "":
		says += fmt.Sprintf(" Did you mean %q? Correct spec.model, or create the Model.", near)
	default:
		says += " Create it, or correct spec.model."
	}
	return &hold{reasonModelMissing, says}, nil
}

// holdBeforeStart is what only what hasn't begun can be held by, since it can still be
// changed: what the webhook refuses, where it wasn't asked, and an output that is another's.
func (r *Reconciler) holdBeforeStart(ctx context.Context, b *v1alpha1.Batch) (*hold, error) {
	if refusal := b.Validate(ctx).Filter(apis.ErrorLevel); refusal != nil {
		return &hold{reasonInvalid, "Correct the Batch: " + strings.TrimSuffix(refusal.Error(), ".") + "."}, nil
	}
	others, err := r.batches.Batches(b.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing the Batches of the namespace: %w", err)
	}
	for _, other := range others {
		if other.UID != b.UID && comesFirst(other, b) && b.SameOutput(other) {
			return &hold{reasonOutputInUse, fmt.Sprintf("Batch %q writes to the same place. Give this one an output of its own (spec.output).", other.Name)}, nil
		}
	}
	return nil, nil //nolint:nilnil // none is no error
}

// comesFirst tells whether an output that two want is the first one's. What is over says
// nothing: whether it left something is found when the run is planned.
func comesFirst(other, b *v1alpha1.Batch) bool {
	if other.Status.IsFinished() || other.DeletionTimestamp != nil {
		return false
	}
	if other.Status.HasBegun() {
		return true
	}
	if at := other.CreationTimestamp.Compare(b.CreationTimestamp.Time); at != 0 {
		return at < 0
	}
	return other.Name < b.Name
}

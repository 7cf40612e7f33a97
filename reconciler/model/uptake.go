package model

import (
	"context"
	"time"

	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// takenUpWithin is how long Knative may take to hand a change of a revision on.
const takenUpWithin = 5 * time.Second

// uptake sees whether Knative has taken up how revisions are to scale. It hands their
// annotations on to their PodAutoscalers. Where that is refused, by its own webhook, a policy
// or a quota, no status says so: the revision goes on scaling by what its PodAutoscaler had,
// and an event tells.
type uptake struct {
	inquiries *inquiries
	schedule
}

// check marks a Model of which a revision isn't scaled by what it says, or not at all: Knative
// may say that a revision is ready for which it could make no PodAutoscaler. What keeps one
// from being ready is found elsewhere.
func (u *uptake) check(ctx context.Context, m *v1alpha1.Model, revision *servingv1.Revision, autoscaler *autoscalingv1alpha1.PodAutoscaler) {
	if !revision.IsReady() || autoscaler != nil && len(resources.Behind(revision, autoscaler)) == 0 {
		return
	}
	changed := changedAt(revision)
	if waited := u.Since(changed); waited < takenUpWithin {
		u.later(m, takenUpWithin-waited)
		return
	}
	u.later(m, lookAgain)
	failure, refused := u.inquiries.about(ctx, revision, nil).Failure(changed)
	switch {
	case refused && autoscaler == nil:
		m.MarkScalingRefused(revision.Name, failure)
	case refused:
		m.MarkTuningRefused(revision.Name, failure)
	default:
		m.MarkNotTakenUp(revision.Name, failure)
	}
}

// changedAt is when somebody changed a revision last, other than its status.
func changedAt(revision *servingv1.Revision) time.Time {
	last := revision.CreationTimestamp.Time
	for _, change := range revision.ManagedFields {
		if change.Subresource == "" && change.Time != nil && change.Time.After(last) {
			last = change.Time.Time
		}
	}
	return last
}

package rollout

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Reasons why a rollout isn't further.
const (
	reasonNothingToUndo     = "NothingToUndo"
	reasonPaused            = "Paused"
	reasonHeld              = "HeldAtPercent"
	reasonRevisionFailed    = "RevisionFailed"
	reasonRevisionNotReady  = "RevisionNotReady"
	reasonTargetNotReady    = "TargetNotReady"
	reasonUndone            = "Undone"
	reasonWaitingForRoutes  = "WaitingForRoutes"
	reasonWaitingForWarmth  = "WaitingForWarmReplicas"
	reasonPreviousNotReady  = "PreviousRevisionNotReady"
	reasonMovingRequests    = "MovingRequests"
	messageWaitingForRoutes = "The gateways don't serve the last split yet."
)

// explain says why a rollout is no further, and what to do about it.
func (r *rollout) explain(phase v1alpha1.RolloutPhase) (reason, message string) {
	to := r.Revisions[r.to]
	switch phase {
	case v1alpha1.RolloutUndone:
		return reasonUndone, fmt.Sprintf("Revision %q serves again instead of %q; unset spec.rollout.undo to roll out the newest revision.", r.from, r.to)
	case v1alpha1.RolloutFailed:
		if r.undoes(r.from) {
			return r.noWayBack()
		}
		if to.Why == "" {
			return reasonRevisionFailed, fmt.Sprintf("Revision %q is not ready. %s", r.to, r.whatNow())
		}
		return reasonRevisionFailed, fmt.Sprintf("Revision %q is not ready: %s %s", r.to, sentence(to.Why), r.whatNow())
	case v1alpha1.RolloutPaused:
		if r.Spec.Paused {
			return reasonPaused, fmt.Sprintf("Revision %q is held at %d percent; unset spec.rollout.paused to go on.", r.to, r.shares[r.to])
		}
		return reasonHeld, fmt.Sprintf("Revision %q is held at %d percent by spec.rollout.percent; raise or unset it to go on.", r.to, r.shares[r.to])
	case v1alpha1.RolloutUndoing:
		if !r.ready(r.from) {
			return r.noWayBack()
		}
		return r.waiting(r.from)
	case v1alpha1.RolloutProgressing:
		if to.Ready != corev1.ConditionTrue {
			return reasonRevisionNotReady, strings.TrimSpace(fmt.Sprintf("Revision %q is not ready yet. %s %s", r.to, sentence(to.Why), to.Remedy))
		}
		return r.waiting(r.to)
	}
	return r.remark()
}

func (r *rollout) noWayBack() (reason, message string) {
	return reasonPreviousNotReady, fmt.Sprintf("There is no going back to revision %q, which is not ready: %s Change the Model instead.",
		r.from, sentence(r.Revisions[r.from].Why))
}

// waiting says what keeps a revision that gains requests from more of them.
func (r *rollout) waiting(name string) (reason, message string) {
	switch warm, floor := r.Revisions[name].Warm, r.floors()[name]; {
	case !r.Routed:
		return reasonWaitingForRoutes, messageWaitingForRoutes
	case r.shares[name] < r.goals[name] && warm < floor:
		message := fmt.Sprintf("Revision %q has %d warm replicas of the %d for its next step. %s", name, warm, floor, sentence(r.Revisions[name].Why))
		return reasonWaitingForWarmth, strings.TrimSpace(message)
	}
	return reasonMovingRequests, fmt.Sprintf("Requests are on their way to revision %q.", name)
}

// remark says what is amiss with a rollout that is done.
func (r *rollout) remark() (reason, message string) {
	if r.Spec.Undo {
		return reasonNothingToUndo, fmt.Sprintf("No revision is known that served before %q; unset spec.rollout.undo.", r.to)
	}
	for _, t := range r.Targets {
		if name := r.meant(t); !r.ready(name) {
			return reasonTargetNotReady, fmt.Sprintf("Revision %q of spec.traffic is missing or not ready, and gets no requests. %s", name, sentence(r.Revisions[name].Why))
		}
	}
	return "", ""
}

// whatNow is what to do about a newest revision that fails, and what happens meanwhile.
func (r *rollout) whatNow() string {
	switch remedy := r.Revisions[r.to].Remedy; {
	case remedy != "" && r.from == "":
		return remedy
	case remedy != "":
		return fmt.Sprintf("%s Revision %q serves meanwhile; set spec.rollout.undo to stay with it.", remedy, r.from)
	case r.from == "":
		return "Change the Model to mend it."
	}
	return fmt.Sprintf("Revision %q serves; change the Model to mend it, or set spec.rollout.undo.", r.from)
}

func sentence(why string) string {
	if why == "" {
		return ""
	}
	if last := why[len(why)-1]; last != '.' && last != '!' {
		why += "."
	}
	return why
}

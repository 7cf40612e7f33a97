package v1alpha1

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// ModelConditionWarm is true when the newest revision isn't kept from serving by its
// warm-up: as with Knative's own conditions, one warm replica is enough, and the message
// tells of the others. It holds where there is no warm-up, and at zero replicas.
const ModelConditionWarm apis.ConditionType = "Warm"

// maxWarmUpRows bounds the replicas that a status has rows for.
const maxWarmUpRows = 10

const (
	reasonWarm            = "Warm"
	reasonWarmingUp       = "WarmingUp"
	reasonWarmUpFailed    = "WarmUpFailed"
	reasonReplicaFailed   = "ReplicaFailed"
	reasonServingCold     = "ServingCold"
	reasonProbingDisabled = "ProbingDisabled"
	reasonAtZero          = "NoReplicas"
)

// MarkNoWarmUp says that replicas serve as soon as they are ready.
func (s *ModelStatus) MarkNoWarmUp() {
	s.WarmUp = nil
	modelConditions.Manage(s).MarkTrue(ModelConditionWarm)
}

// MarkWarmUpLacking says what a revision that is warmed up can't be made without.
// What was there before goes on.
func (s *ModelStatus) MarkWarmUpLacking(reason, message string) {
	m := modelConditions.Manage(s)
	m.MarkFalse(ModelConditionRevisionReady, reason, "No revision of what the Model asks for can be made.")
	m.MarkFalse(ModelConditionWarm, reason, "%s", message)
}

// MarkNothingWithoutWarmUp says the same of a Model of which there is nothing yet.
func (s *ModelStatus) MarkNothingWithoutWarmUp(reason, message string) {
	s.forgetService(reason)
	s.MarkWarmUpLacking(reason, message)
}

// MarkProbingDisabled says that replicas serve cold, as Knative doesn't ask whether
// they are warm.
func (s *ModelStatus) MarkProbingDisabled(remedy string) {
	modelConditions.Manage(s).MarkFalse(ModelConditionWarm, reasonProbingDisabled,
		"Knative doesn't probe more than one container of a pod, so replicas serve before they are warm. %s", remedy)
}

// PropagateWarmUp takes over how far the replicas are, the newest of them first, and
// judges by those of the newest revision.
func (s *ModelStatus) PropagateWarmUp(newest string, replicas []ReplicaWarmUp) {
	before := s.WarmUp
	s.WarmUp = &WarmUpStatus{Revision: newest}
	slices.SortStableFunc(replicas, func(a, b ReplicaWarmUp) int { return cmp.Compare(rank(a), rank(b)) })
	var cold, waiting []ReplicaWarmUp
	for _, replica := range replicas {
		if replica.Revision != newest {
			continue
		}
		s.WarmUp.Total++
		switch state := warmup.State(replica.State); {
		case state == warmup.Failed && s.WarmUp.Failure == nil:
			s.WarmUp.Failure = replica.DeepCopy()
		case state.Serves():
			s.WarmUp.Warm++
			if state == warmup.ServingCold {
				cold = append(cold, replica)
			}
		case !state.Ended():
			waiting = append(waiting, replica)
		}
	}
	s.WarmUp.Replicas = replicas[:min(len(replicas), maxWarmUpRows)]
	if before != nil && before.Failure != nil && before.Failure.Revision == newest && s.WarmUp.Failure == nil && s.WarmUp.Warm == 0 {
		// Knative takes away the replicas of a revision that failed; why it did stays.
		s.WarmUp.Failure = before.Failure
	}
	s.markWarm(cold, waiting)
}

func (s *ModelStatus) markWarm(cold, waiting []ReplicaWarmUp) {
	m, w := modelConditions.Manage(s), s.WarmUp
	counts := fmt.Sprintf("%d of %d replicas are warm", w.Warm, w.Total)
	switch {
	case w.Failure != nil && w.Warm == 0:
		m.MarkFalse(ModelConditionWarm, reasonWarmUpFailed, "%s", w.Failure.explain())
	case w.Failure != nil:
		m.MarkTrueWithReason(ModelConditionWarm, reasonReplicaFailed, "%s. %s", counts, w.Failure.explain())
	case len(cold) > 0:
		m.MarkTrueWithReason(ModelConditionWarm, reasonServingCold, "%d of %d replicas serve without having been warmed up: %s: %s.",
			len(cold), w.Total, cold[0].Pod, strings.TrimRight(cold[0].Reason, "."))
	case w.Revision == "":
		m.MarkUnknown(ModelConditionWarm, reasonWarmingUp, "There is no revision yet.")
	case w.Total == 0 && s.LatestReadyRevision == w.Revision:
		m.MarkTrueWithReason(ModelConditionWarm, reasonAtZero, "There are no replicas; each is warmed up before it serves.")
	case w.Warm == 0 && len(waiting) > 0:
		m.MarkUnknown(ModelConditionWarm, reasonWarmingUp, "%s; %s: %s after %d requests. %s", counts,
			waiting[0].Pod, waiting[0].State, waiting[0].Requests, waiting[0].Reason)
	case w.Warm == 0:
		m.MarkUnknown(ModelConditionWarm, reasonWarmingUp, "Revision %q has no replicas yet.", w.Revision)
	default:
		m.MarkTrueWithReason(ModelConditionWarm, reasonWarm, "%s.", counts)
	}
}

// explain says what became of a replica that could not be warmed up, and what to do.
func (r *ReplicaWarmUp) explain() string {
	return fmt.Sprintf("Replica %s of revision %s could not be warmed up and doesn't serve: %s. "+
		"Mend the model or spec.warmUp; it is tried again after ten minutes, or at once when it is deleted.", r.Pod, r.Revision, strings.TrimRight(r.Reason, "."))
}

// rank orders replicas by how much there is to say of them.
func rank(r ReplicaWarmUp) int {
	return slices.Index([]warmup.State{warmup.Failed, warmup.Waiting, warmup.Warming, warmup.ServingCold, warmup.Warm}, warmup.State(r.State))
}

package v1alpha1

// PropagateRollout takes over how far the rollout is.
func (s *ModelStatus) PropagateRollout(r *RolloutStatus) {
	s.Rollout = r
	m := modelConditions.Manage(s)
	switch r.Phase {
	case RolloutComplete, RolloutKeepingWarm:
		if r.Reason == "" {
			m.MarkTrue(ModelConditionRolledOut)
			return
		}
		m.MarkFalse(ModelConditionRolledOut, r.Reason, "%s", r.Message)
	case RolloutFailed, RolloutUndone:
		m.MarkFalse(ModelConditionRolledOut, r.Reason, "%s", r.Message)
	default:
		m.MarkUnknown(ModelConditionRolledOut, r.Reason, "%s", r.Message)
	}
}

// MarkRolloutPending says that the newest revision is not known yet.
func (s *ModelStatus) MarkRolloutPending() {
	modelConditions.Manage(s).MarkUnknown(ModelConditionRolledOut, reasonOutOfDate,
		"Knative has not taken up the Model's latest change yet.")
}

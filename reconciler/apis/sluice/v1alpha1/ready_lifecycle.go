package v1alpha1

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// propagateRevision takes over what Knative says of the newest revision. What keeps it from
// being ready is said instead, where it is known: Knative looks at pods seldom, and in the
// end says that its deadline has passed.
func (s *ModelStatus) propagateRevision(service *servingv1.Service) {
	m, from := modelConditions.Manage(s), service.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)
	newest := service.Status.LatestCreatedRevisionName
	switch o := s.Obstacle; {
	case !from.IsTrue() && o.Of(newest) && (o.Lasts || from.IsFalse()):
		m.MarkFalse(ModelConditionRevisionReady, o.Reason, "%s %s", o.Message, o.Remedy)
	case !from.IsTrue() && o.Of(newest):
		m.MarkUnknown(ModelConditionRevisionReady, o.Reason, "%s %s", o.Message, o.Remedy)
	case from.IsUnknown() && from.Reason == "" && newest != "":
		m.MarkUnknown(ModelConditionRevisionReady, reasonDeploying, "Revision %q has no ready replica yet.", newest)
	default:
		s.propagate(ModelConditionRevisionReady, from, "Knative has not said yet whether the revision is ready.")
	}
}

// fromCauseOn are the conditions that Ready is made of, a cause before what it keeps.
var fromCauseOn = []apis.ConditionType{
	ModelConditionWarm, ModelConditionRevisionReady, ModelConditionRolledOut, ModelConditionRouted, ModelConditionLimited,
}

// SettleReady has Ready repeat the condition that has the cause. Marked one after the
// other, the one would win that changed last. Before is what Ready was, which keeps its
// time if it is the same.
func (s *ModelStatus) SettleReady(before *apis.Condition) {
	if cause := s.cause(); cause != nil {
		ready := apis.Condition{
			Type: ModelConditionReady, Status: cause.Status, Severity: apis.ConditionSeverityError, Reason: cause.Reason, Message: cause.Message,
		}
		if slices.ContainsFunc(fromCauseOn, func(c apis.ConditionType) bool { return s.GetCondition(c).IsFalse() }) {
			ready.Status = corev1.ConditionFalse
		}
		modelConditions.Manage(s).SetCondition(ready)
	}
	for i, now := range s.Conditions {
		if now.Type == ModelConditionReady && before != nil && before.Status == now.Status && before.Reason == now.Reason && before.Message == now.Message {
			s.Conditions[i].LastTransitionTime = before.LastTransitionTime
		}
	}
}

// cause is the condition that keeps the Model from being Ready: the one that says what was
// seen of replicas, else the first that is false, else the first that says why it is
// unknown; nil if all are true.
func (s *ModelStatus) cause() *apis.Condition {
	revision := s.GetCondition(ModelConditionRevisionReady)
	if !revision.IsTrue() && s.Obstacle != nil && revision.GetReason() == s.Obstacle.Reason {
		return revision
	}
	var unknown *apis.Condition
	for _, c := range fromCauseOn {
		found := s.GetCondition(c)
		if found.IsFalse() {
			return found
		}
		if found != nil && found.IsUnknown() && (unknown == nil || unknown.Reason == "") {
			unknown = found
		}
	}
	return unknown
}

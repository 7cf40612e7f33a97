package v1alpha1

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
)

// A Model whose replicas don't come says so for as long as they don't, and stays Ready
// if it was: what there is of it serves.
func TestScaled(t *testing.T) {
	limit := &RateLimit{}
	limit.GetConditionSet().Manage(&limit.Status).InitializeConditions()
	for _, c := range []apis.ConditionType{RateLimitConditionWritten, RateLimitConditionProved} {
		limit.GetConditionSet().Manage(&limit.Status).MarkTrue(c)
	}
	limit.Status.Revisions = []RevisionCapacity{
		{Name: "m-1", Desired: 2, Ready: 2},
		{Name: "m-2", Desired: 6, Ready: 2, Missing: 4, Reason: "FailedCreate", Message: "exceeded quota"},
	}
	m := &Model{}
	m.Status.InitializeConditions()
	for _, c := range []apis.ConditionType{ModelConditionRevisionReady, ModelConditionWarm, ModelConditionRolledOut, ModelConditionRouted} {
		modelConditions.Manage(&m.Status).MarkTrue(c)
	}
	m.Status.PropagateRateLimit(limit)
	got := m.Status.GetCondition(ModelConditionScaled)
	if got == nil || got.Status != corev1.ConditionFalse || got.Severity != apis.ConditionSeverityInfo || got.Reason != "FailedCreate" ||
		got.Message != "4 of 6 replicas of revision m-2 aren't coming: exceeded quota" {
		t.Errorf("the condition is %+v", got)
	}
	if !m.IsReady() {
		t.Errorf("not Ready: %+v", m.Status.Conditions)
	}
	limit.Status.Revisions[1] = RevisionCapacity{Name: "m-2", Desired: 6, Ready: 6}
	m.Status.PropagateRateLimit(limit)
	if got := m.Status.GetCondition(ModelConditionScaled); got != nil || !m.IsReady() {
		t.Errorf("still says %+v", got)
	}
}

package v1alpha1

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// starts is a Knative Service whose newest revision isn't ready.
func starts(status corev1.ConditionStatus, reason string) *servingv1.Service {
	s := &servingv1.Service{}
	s.Status.LatestCreatedRevisionName = "m-2"
	s.Status.Conditions = duckv1.Conditions{
		{Type: servingv1.ServiceConditionConfigurationsReady, Status: status, Reason: reason, Message: "Initial scale was never achieved"},
		{Type: servingv1.ServiceConditionRoutesReady, Status: corev1.ConditionUnknown, Reason: "RevisionMissing"},
	}
	return s
}

func TestRevisionSaysWhatKeepsIt(t *testing.T) {
	keeps := func(revision string, lasts bool) *RevisionObstacle {
		return &RevisionObstacle{RevisionName: revision, Reason: "NoRoom", Message: "100% is taken.", Remedy: "Add nodes.", Lasts: lasts}
	}
	const both = "100% is taken. Add nodes."
	for name, test := range map[string]struct {
		service         *servingv1.Service
		obstacle        *RevisionObstacle
		status          corev1.ConditionStatus
		reason, message string
	}{
		"nothing is seen":      {starts(corev1.ConditionUnknown, ""), nil, corev1.ConditionUnknown, "Deploying", `Revision "m-2" has no ready replica yet.`},
		"Knative says why":     {starts(corev1.ConditionFalse, "RevisionFailed"), nil, corev1.ConditionFalse, "RevisionFailed", "Initial scale was never achieved"},
		"something is":         {starts(corev1.ConditionUnknown, ""), keeps("m-2", false), corev1.ConditionUnknown, "NoRoom", both},
		"it lasts":             {starts(corev1.ConditionUnknown, ""), keeps("m-2", true), corev1.ConditionFalse, "NoRoom", both},
		"Knative gave up":      {starts(corev1.ConditionFalse, "RevisionFailed"), keeps("m-2", false), corev1.ConditionFalse, "NoRoom", both},
		"of another revision":  {starts(corev1.ConditionUnknown, ""), keeps("m-1", true), corev1.ConditionUnknown, "Deploying", `Revision "m-2" has no ready replica yet.`},
		"of one that is ready": {starts(corev1.ConditionTrue, ""), keeps("m-2", true), corev1.ConditionTrue, "", ""},
	} {
		s := &ModelStatus{Obstacle: test.obstacle}
		s.InitializeConditions()
		s.PropagateService(test.service)
		if got := s.GetCondition(ModelConditionRevisionReady); got.Status != test.status || got.Reason != test.reason || test.status != corev1.ConditionTrue && got.Message != test.message {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Ready repeats the condition that has the cause, whichever was marked last.
func TestReadyHasTheCause(t *testing.T) {
	const (
		revision, warm, rolled = ModelConditionRevisionReady, ModelConditionWarm, ModelConditionRolledOut
		routed, limited        = ModelConditionRouted, ModelConditionLimited
	)
	unknown := func(reason string) apis.Condition {
		return apis.Condition{Status: corev1.ConditionUnknown, Reason: reason, Message: reason + "!"}
	}
	no := func(reason string) apis.Condition {
		return apis.Condition{Status: corev1.ConditionFalse, Reason: reason, Message: reason + "!"}
	}
	for name, test := range map[string]struct {
		conditions map[apis.ConditionType]apis.Condition
		obstacle   string
		status     corev1.ConditionStatus
		reason     string
	}{
		"all is well":            {nil, "", corev1.ConditionTrue, ""},
		"a replica shows it":     {map[apis.ConditionType]apis.Condition{revision: unknown("SecretMissing"), warm: unknown("WarmingUp"), rolled: unknown("RevisionNotReady")}, "SecretMissing", corev1.ConditionUnknown, "SecretMissing"},
		"while others are false": {map[apis.ConditionType]apis.Condition{revision: unknown("SecretMissing"), limited: no("NoGatewayPods")}, "SecretMissing", corev1.ConditionFalse, "SecretMissing"},
		"it failed":              {map[apis.ConditionType]apis.Condition{revision: no("SecretMissing"), rolled: no("RevisionFailed"), routed: no("RevisionMissing")}, "SecretMissing", corev1.ConditionFalse, "SecretMissing"},
		"a cap, before that":     {map[apis.ConditionType]apis.Condition{revision: no("TenantCap"), rolled: no("Undone")}, "SecretMissing", corev1.ConditionFalse, "TenantCap"},
		"a warm-up failed":       {map[apis.ConditionType]apis.Condition{revision: no("RevisionFailed"), warm: no("WarmUpFailed"), rolled: no("RevisionFailed")}, "", corev1.ConditionFalse, "WarmUpFailed"},
		"false before unknown":   {map[apis.ConditionType]apis.Condition{revision: unknown("Deploying"), limited: no("PodsLag")}, "", corev1.ConditionFalse, "PodsLag"},
		"what says why":          {map[apis.ConditionType]apis.Condition{revision: unknown(""), routed: unknown("LimitNotProved")}, "", corev1.ConditionUnknown, "LimitNotProved"},
		"nothing says why":       {map[apis.ConditionType]apis.Condition{routed: unknown("")}, "", corev1.ConditionUnknown, ""},
	} {
		s := &ModelStatus{}
		m := modelConditions.Manage(s)
		s.InitializeConditions()
		if test.obstacle != "" {
			s.Obstacle = &RevisionObstacle{Reason: test.obstacle}
		}
		for _, c := range fromCauseOn {
			m.MarkTrue(c)
		}
		for _, c := range fromCauseOn {
			if given, ok := test.conditions[c]; ok {
				given.Type, given.Severity = c, apis.ConditionSeverityError
				m.SetCondition(given)
			}
		}
		s.SettleReady(nil)
		got := s.GetCondition(ModelConditionReady)
		if got.Status != test.status || got.Reason != test.reason {
			t.Errorf("%s: %+v", name, got)
		}
		then := apis.VolatileTime{Inner: metav1.NewTime(time.Unix(1, 0))}
		before := got.DeepCopy()
		before.LastTransitionTime = then
		m.MarkFalse(revision, "Passing", "through")
		for c, given := range test.conditions {
			given.Type, given.Severity = c, apis.ConditionSeverityError
			m.SetCondition(given)
		}
		if _, given := test.conditions[revision]; !given {
			m.MarkTrue(revision)
		}
		s.SettleReady(before)
		if again := s.GetCondition(ModelConditionReady); again.LastTransitionTime != then {
			t.Errorf("%s: since %v, though nothing changed: %+v", name, again.LastTransitionTime, again)
		}
	}
}

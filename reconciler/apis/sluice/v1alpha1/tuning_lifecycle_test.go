package v1alpha1

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What is refused is told with the field that it came of; what is tried again isn't told as
// a fault of the Model's.
func TestTuningIsTold(t *testing.T) {
	const key = AutoscalingPrefix
	for name, c := range map[string]struct {
		err    error
		status corev1.ConditionStatus
		reason string
		ends   string
	}{
		"a field":                {apierrs.NewBadRequest("validation failed: metadata.annotations." + key + "window"), corev1.ConditionFalse, "AutoscalingRefused", "Correct spec.autoscaling.window."},
		"in an older spelling":   {apierrs.NewBadRequest("validation failed: " + key + "maxScale"), corev1.ConditionFalse, "AutoscalingRefused", "Correct spec.autoscaling.maxReplicas."},
		"an annotation":          {apierrs.NewBadRequest("invalid value: x: " + key + "metric-aggregation-algorithm"), corev1.ConditionFalse, "AutoscalingRefused", "Correct metadata.annotations[" + key + "metric-aggregation-algorithm]."},
		"two, of which one ours": {apierrs.NewBadRequest("max-scale=1 is less than min-scale=2: " + key + "max-scale, " + key + "min-scale, " + key + "max-scale"), corev1.ConditionFalse, "AutoscalingRefused", "Correct spec.autoscaling.maxReplicas."},
		"a policy":               {apierrs.NewForbidden(schema.GroupResource{Resource: "revisions"}, "m-1", errors.New("no")), corev1.ConditionFalse, "AutoscalingRefused", "have the rule changed that refuses it."},
		"an accident":            {errors.New("no connection"), corev1.ConditionUnknown, "AutoscalingNotApplied", `on revision "m-1": no connection`},
	} {
		m := &Model{}
		m.Annotations = map[string]string{key + "metric-aggregation-algorithm": "x"}
		most := int32(9)
		m.Spec.Autoscaling.MaxReplicas, m.Spec.Autoscaling.Window = &most, duration("8s")
		m.Status.InitializeConditions()
		m.MarkNotTuned("m-1", c.err)
		got := m.Status.GetCondition(ModelConditionRevisionReady)
		if got.Status != c.status || got.Reason != c.reason || !strings.HasSuffix(got.Message, c.ends) || strings.Contains(got.Message, "..") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

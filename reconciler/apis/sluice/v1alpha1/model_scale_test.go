package v1alpha1

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

func TestValidateScale(t *testing.T) {
	t.Parallel()
	most := func(replicas int32) func(*Model) {
		return scaling(func(a *AutoscalingSpec) { a.MaxReplicas = ptr(replicas) })
	}
	held := func(replicas int64) func(*Model) {
		return func(m *Model) { m.Status.Allow(replicas) }
	}
	for name, c := range map[string]struct {
		model    func(*Model)
		replicas int32
		refuses  string // "" for let in
		warns    string
	}{
		"some":                            {model: func(*Model) {}, replicas: 3, warns: "sets it to 3, which are kept without any demand; replicas beyond that follow the demand: " + PathMinReplicas},
		"some of a bound":                 {model: most(5), replicas: 3, warns: "follow the demand, 5 of each revision at most"},
		"none":                            {model: func(*Model) {}, replicas: 0, warns: "sets it to 0: the Model scales to zero"},
		"all":                             {model: most(5), replicas: 5, warns: "sets it to 5"},
		"above maxReplicas":               {model: most(5), replicas: 6, refuses: "invalid value: is 6, must not be above maxReplicas, which is 5: " + PathMinReplicas},
		"above the annotation":            {model: annotated("max-scale", "5"), replicas: 6, refuses: "max-scale"},
		"below the activation's":          {model: annotated("activation-scale", "2"), replicas: 3, refuses: "activation-scale"},
		"where an annotation wins":        {model: annotated("min-scale", "1"), replicas: 3, refuses: "kubectl annotate model ranker autoscaling.knative.dev/min-scale-"},
		"where an older annotation wins":  {model: annotated("minScale", "1"), replicas: 3, refuses: "metadata.annotations[autoscaling.knative.dev/minScale]"},
		"beyond what it may have":         {model: both(most(9), held(4)), replicas: 5, refuses: "its tenant's caps let each revision have 4 replicas"},
		"within what it may have":         {model: both(most(9), held(4)), replicas: 4, warns: "sets it to 4"},
		"with a bound that is new":        {model: both(both(most(9), held(4)), func(m *Model) { m.Generation = 2 }), replicas: 5, warns: "sets it to 5"},
		"without a bound, which it has":   {model: held(UnboundedReplicas), replicas: 5, warns: "sets it to 5"},
		"where something else was broken": {model: func(m *Model) { m.Spec.Container.Image = "" }, replicas: 3, refuses: "spec.container.image"},
		"one that goes":                   {model: both(most(5), func(m *Model) { m.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }), replicas: 6},
	} {
		m := validModel()
		m.SetDefaults(context.Background())
		c.model(m)
		before := m.DeepCopy()
		result := m.ValidateScale(context.Background(), c.replicas)
		refusal, warnings := "", warningsBySluice(result.Filter(apis.WarningLevel))
		if errs := result.Filter(apis.ErrorLevel); errs != nil {
			refusal = errs.Error()
		}
		if (c.refuses == "") != (refusal == "") || !strings.Contains(refusal, c.refuses) {
			t.Errorf("%s: refused: %q, want %q", name, refusal, c.refuses)
		}
		if c.refuses == "" && ((c.warns == "") != (warnings == "") || !strings.Contains(warnings, c.warns)) {
			t.Errorf("%s: warns: %q, want %q", name, warnings, c.warns)
		}
		if before.Spec.Autoscaling.MinReplicas != m.Spec.Autoscaling.MinReplicas {
			t.Errorf("%s: the Model was changed", name)
		}
	}
}

func TestScaledBy(t *testing.T) {
	t.Parallel()
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	const least, other = `{"f:spec":{"f:autoscaling":{"f:minReplicas":{}}}}`, `{"f:spec":{"f:autoscaling":{"f:maxReplicas":{}}}}`
	for name, c := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"nobody":             {nil, ""},
		"by scaling":         {[]metav1.ManagedFieldsEntry{entry("helm", "", other), entry("kubectl", "scale", least)}, "kubectl"},
		"by the Model":       {[]metav1.ManagedFieldsEntry{entry("kubectl", "scale", other), entry("kubectl-patch", "", least)}, ""},
		"by its status":      {[]metav1.ManagedFieldsEntry{entry("controller", "status", least)}, ""},
		"what can't be read": {[]metav1.ManagedFieldsEntry{entry("kubectl", "scale", `{"f:spec":[]}`)}, ""},
		"without fields":     {[]metav1.ManagedFieldsEntry{{Manager: "kubectl", Subresource: "scale"}}, ""},
	} {
		m := &Model{}
		m.ManagedFields = c.entries
		if client, ok := m.ScaledBy(); client != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %t; want %q", name, client, ok, c.want)
		}
	}
}

package v1alpha1

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
)

const (
	reasonNotTuned      = "AutoscalingNotApplied"
	reasonTuningRefused = "AutoscalingRefused"
)

// MarkNotTuned says why a live revision could not be told how the Model is to scale.
func (m *Model) MarkNotTuned(revision string, err error) {
	if refused(err) {
		m.MarkTuningRefused(revision, err.Error())
		return
	}
	modelConditions.Manage(&m.Status).MarkUnknown(ModelConditionRevisionReady, reasonNotTuned,
		"Autoscaling could not be changed on revision %q: %v", revision, err)
}

// MarkNotTakenUp says that Knative scales a live revision by what it was told before, and
// what it failed by; "" where that isn't known.
func (m *Model) MarkNotTakenUp(revision, failure string) {
	modelConditions.Manage(&m.Status).MarkUnknown(ModelConditionRevisionReady, reasonNotTuned,
		"Knative has not taken up how revision %q is to scale: %s", revision,
		cmp.Or(failure, "its PodAutoscaler isn't there or has other annotations, and no event says why."))
}

// MarkTuningRefused says that it does so since what it is told is refused, which a person
// has to mend.
func (m *Model) MarkTuningRefused(revision, refusal string) {
	m.markRefused("Knative refuses how revision %q is to scale, and goes on with what it was told before: %s. %s", revision, refusal)
}

// MarkScalingRefused says that Knative scales a live revision by nothing, since what it would
// scale it by is refused.
func (m *Model) MarkScalingRefused(revision, refusal string) {
	m.markRefused("Knative can't scale revision %q: %s. %s", revision, refusal)
}

// markRefused marks by a format for the revision, the refusal and the remedy.
func (m *Model) markRefused(format, revision, refusal string) {
	remedy := "Change what it names in the Model, or have the rule changed that refuses it."
	if fields := m.autoscalingFieldsIn(refusal); len(fields) > 0 {
		remedy = "Correct " + strings.Join(fields, ", ") + "."
	}
	modelConditions.Manage(&m.Status).MarkFalse(ModelConditionRevisionReady, reasonTuningRefused, format, revision, strings.TrimRight(refusal, ". "), remedy)
}

var autoscalingKey = regexp.MustCompile(regexp.QuoteMeta(AutoscalingPrefix) + `[A-Za-z-]+`)

// autoscalingFieldsIn are the fields and annotations of the Model that a message is about,
// which names the annotations that came of them.
func (m *Model) autoscalingFieldsIn(message string) []string {
	of, fields := m.AutoscalingAnnotations(), []string(nil)
	for _, said := range autoscalingKey.FindAllString(message, -1) {
		key := canonicalAutoscalingKey(said)
		if _, set := of[key]; !set {
			continue // by the demand, or by others
		}
		if field := m.autoscalingPath(key); !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	return fields
}

// refused tells what a person has to mend from what only has to be tried again.
func refused(err error) bool {
	return apierrs.IsInvalid(err) || apierrs.IsBadRequest(err) || apierrs.IsForbidden(err)
}

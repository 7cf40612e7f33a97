package v1alpha1

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/kmeta"
)

const maxKeepWarm = 24 * time.Hour

func (r *RolloutSpec) validate() *apis.FieldError {
	var errs *apis.FieldError
	if p := r.Percent; p != nil && (*p < 0 || *p > 100) {
		errs = errs.Also(invalid("percent", "must be from 0 to 100, is %d", *p))
	}
	if s := r.StepPercent; s != nil && (*s < 1 || *s > 100) {
		errs = errs.Also(invalid("stepPercent", "must be from 1 to 100, is %d", *s))
	}
	if k := r.KeepWarm; k != nil && (k.Duration < 0 || k.Duration > maxKeepWarm || k.Duration%time.Second != 0) {
		errs = errs.Also(invalid("keepWarm", "must be whole seconds from 0s to %s, is %s", maxKeepWarm, k.Duration))
	}
	return errs
}

// validateTraffic checks each target, and all of them together: what they leave over
// is the rollout's.
func (m *Model) validateTraffic() *apis.FieldError {
	var errs *apis.FieldError
	var sum int64
	tags, name := map[string]int{}, m.Name
	if name == "" {
		name = longestGenerated(m.GenerateName)
	}
	for i, t := range m.Spec.Traffic {
		errs = errs.Also(t.validate(name).ViaIndex(i))
		if t.Percent != nil {
			sum += int64(*t.Percent)
		}
		if t.Tag == "" {
			continue
		}
		if first, ok := tags[t.Tag]; ok {
			errs = errs.Also(invalid("tag", "%q is the tag of [%d] already; a tag leads to one revision", t.Tag, first).ViaIndex(i))
		} else {
			tags[t.Tag] = i
		}
	}
	if sum > 100 {
		errs = errs.Also(invalid(apis.CurrentField, "the percentages add up to %d, must be at most 100; what they leave is the rollout's", sum))
	}
	return errs.ViaField("traffic").ViaField("spec")
}

func (t *TrafficTarget) validate(model string) *apis.FieldError {
	latest := t.LatestRevision != nil && *t.LatestRevision
	var errs *apis.FieldError
	switch {
	case t.RevisionName == "" && !latest:
		err := apis.ErrMissingOneOf("revisionName", "latestRevision")
		err.Details = "name a revision, or set latestRevision to true"
		errs = errs.Also(err)
	case t.RevisionName != "" && latest:
		errs = errs.Also(apis.ErrMultipleOneOf("revisionName", "latestRevision"))
	case t.RevisionName != "" && !isRevisionOf(model, t.RevisionName):
		errs = errs.Also(invalid("revisionName", "%q is not a revision of this Model; theirs are named as %q is (see status.revisions)",
			t.RevisionName, kmeta.ChildName(model, "-00001")))
	}
	if p := t.Percent; p != nil && (*p < 0 || *p > 100) {
		errs = errs.Also(invalid("percent", "must be from 0 to 100, is %d", *p))
	} else if p != nil && *p > 0 && latest {
		errs = errs.Also(invalid("percent", "is %d for the newest revision, which the rollout decides; set spec.rollout.percent", *p))
	}
	return errs.Also(t.validateTag(model))
}

// isRevisionOf tells whether Knative may have given a revision of a Model this name: the
// Model's, shortened and hashed where it is long, and a number.
func isRevisionOf(model, revision string) bool {
	at := strings.LastIndex(revision, "-")
	return at >= 0 && kmeta.ChildName(model, revision[at:]) == revision
}

func (t *TrafficTarget) validateTag(model string) *apis.FieldError {
	if t.Tag == "" {
		if t.Percent == nil || *t.Percent == 0 {
			err := apis.ErrMissingOneOf("percent", "tag")
			err.Details = "without either, no request goes there"
			return err
		}
		return nil
	}
	var errs *apis.FieldError
	for _, problem := range validation.IsDNS1035Label(t.Tag) {
		errs = errs.Also(invalid("tag", "it begins the revision's host and %q can't be that: %s", t.Tag, problem))
	}
	if host := t.Tag + "-" + model; len(host) > validation.DNS1035LabelMaxLength {
		errs = errs.Also(invalid("tag", "%q has %d characters and is the first label of the revision's host, which may have %d",
			host, len(host), validation.DNS1035LabelMaxLength))
	}
	return errs
}

// warnOfRollout warns of a change that makes a revision which gets no requests.
func (m *Model) warnOfRollout(ctx context.Context) *apis.FieldError {
	before, ok := apis.GetBaseline(ctx).(*Model)
	if !apis.IsInUpdate(ctx) || !ok || !m.Spec.Rollout.Undo {
		return nil
	}
	if equality.Semantic.DeepEqual(before.Spec.RevisionSpec(), m.Spec.RevisionSpec()) {
		return nil
	}
	return warning("is true, so the new revision gets no requests; unset it to roll out the change", "spec.rollout.undo")
}

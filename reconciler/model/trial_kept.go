package model

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/logging"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// keepAgain is when a Model is looked at again that a verdict is awaited of, or that couldn't
	// be written.
	keepAgain = time.Second
	// longestStart is taken for the longest time that a replica starts: one that takes longer to
	// be ready had been, and was ready again.
	longestStart = 10 * time.Minute
	// mostStarts bounds the starts that are told.
	mostStarts = 100
)

// Verifier finds out whether what a Model tried was better than what it says.
type Verifier interface {
	// Verdict is what was found of a Model's trial whose time has passed; nil for nothing yet.
	// Scaling is how Knative scales where the Model doesn't say, starts are the times that
	// its replicas took to start.
	Verdict(m *v1alpha1.Model, scaling *autoscalerconfig.Config, starts []time.Duration) *v1alpha1.TrialVerdict
}

// decideKept decides how a trial goes on that is to be kept if it is better, and whose time has
// passed. That it is comes into the status before the Model is written: so whoever looks next, with
// the Model written or not, knows of it. What is found is of the generation of the Model that the
// trial began with, and nothing else is written. What is tried is in force meanwhile, which is bounded.
func decideKept(s trialState) trialPlan {
	since := s.now.Sub(s.before.EndTime.Time)
	left := v1alpha1.TrialJudgedWithin - since
	switch {
	case left <= 0:
		return trialPlan{status: s.before.Unjudged(s.now)}
	case s.before.Generation != s.generation:
		return trialPlan{status: s.before.Outdated(s.now)}
	case s.before.IsBetter():
		return trialPlan{status: s.before, inForce: true, write: true, again: min(left, keepAgain)}
	case since < v1alpha1.TrialJudgedAfter:
		return trialPlan{status: s.before, inForce: true, again: v1alpha1.TrialJudgedAfter - since}
	case s.verdict == nil:
		return trialPlan{status: s.before, inForce: true, again: min(left, keepAgain)}
	case s.verdict.Reason == v1alpha1.TrialReasonBetter:
		return trialPlan{status: s.before.FindBetter(s.verdict.Message), inForce: true, again: min(left, keepAgain)}
	}
	return trialPlan{status: s.before.End(s.verdict.Reason, s.verdict.Message, s.now)}
}

// awaits tells whether a trial waits for a verdict.
func (s *trialState) awaits() bool {
	if s.spec.Keep != v1alpha1.TrialKeepIfBetter || s.held || s.breach != nil || s.before.EndTime == nil || s.before.IsBetter() || s.before.Generation != s.generation {
		return false
	}
	since := s.now.Sub(s.before.EndTime.Time)
	return since >= v1alpha1.TrialJudgedAfter && since < v1alpha1.TrialJudgedWithin
}

// verify has a trial judged that waits for it.
func (t *trials) verify(m *v1alpha1.Model, s *trialState) error {
	if !s.awaits() {
		return nil
	}
	pods, err := t.pods.Pods(m.Namespace).List(labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name}))
	if err != nil {
		return fmt.Errorf("listing the Model's replicas: %w", err)
	}
	s.verdict = t.verifier.Verdict(m, t.autoscaling(), startsOf(pods))
	return nil
}

// startsOf are the times from when pods were made until they were ready, of those that have been
// ever since, shortest first.
func startsOf(pods []*corev1.Pod) []time.Duration {
	var starts []time.Duration
	for _, pod := range pods {
		if slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.RestartCount > 0 }) {
			continue
		}
		for _, c := range pod.Status.Conditions {
			took := c.LastTransitionTime.Sub(pod.CreationTimestamp.Time)
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && took > 0 && took <= longestStart {
				starts = append(starts, took)
			}
		}
	}
	slices.SortFunc(starts, cmp.Compare)
	return starts[:min(len(starts), mostStarts)]
}

// keep has a Model itself say what it tries, if it is still the one that was judged: any other
// has the trial end. One that may not be written has its trial end.
func (t *trials) keep(ctx context.Context, m *v1alpha1.Model) {
	patch, err := json.Marshal(m.KeepPatch("spec.trial was kept: " + m.Status.Trial.Message))
	if err == nil {
		_, err = t.client.SluiceV1alpha1().Models(m.Namespace).Patch(ctx, m.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	switch {
	case err == nil, apierrs.IsConflict(err), apierrs.IsNotFound(err):
		// What the Model says by now brings it back.
	case apierrs.IsInvalid(err), apierrs.IsBadRequest(err), apierrs.IsForbidden(err):
		m.Status.Trial = m.Status.Trial.End(v1alpha1.TrialReasonNotWritten, fmt.Sprintf("%s It could not be written to the Model: %v", m.Status.Trial.Message, err), t.Now())
	default:
		logging.FromContext(ctx).Warnw("What was tried, and was better, could not be written; trying again", zap.Error(err))
	}
}

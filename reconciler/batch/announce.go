package batch

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// announcement is an event to tell of a Batch.
type announcement struct{ kind, reason, message string }

// whenWritten tells what has changed in a status that was written. The pass that changed it can't
// tell: until it is written another one may decide otherwise, or the same once more. What was written
// just before this process ended is told by the status alone.
func whenWritten(recorder record.EventRecorder) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{UpdateFunc: func(before, after any) {
		was, had := before.(*v1alpha1.Batch)
		is, has := after.(*v1alpha1.Batch)
		if !had || !has || was.UID != is.UID {
			return
		}
		for _, a := range announcements(&was.Status, &is.Status) {
			recorder.Event(is, a.kind, a.reason, a.message)
		}
	}}
}

// announcements are of changes that come a few times in a run, and never of its progress.
func announcements(before, now *v1alpha1.BatchStatus) []announcement {
	var out []announcement
	add := func(kind, reason, message string) { out = append(out, announcement{kind, reason, message}) }
	if !before.HasBegun() && now.HasBegun() {
		add(corev1.EventTypeNormal, "Started", "The run has begun")
	}
	if !before.IsPlanned() && now.IsPlanned() {
		add(corev1.EventTypeNormal, "Planned", fmt.Sprintf("The input has %d items, in %d shards", *now.Total, now.Shards.Total))
	}
	if !before.IsFinished() && now.IsFinished() {
		complete := now.GetCondition(v1alpha1.BatchConditionComplete)
		if complete.IsTrue() {
			add(corev1.EventTypeNormal, complete.Reason, complete.Message)
		} else {
			add(corev1.EventTypeWarning, complete.Reason, complete.Message)
		}
		return out
	}
	if pace := now.GetCondition(v1alpha1.BatchConditionOnTime); pace.IsFalse() && !before.GetCondition(v1alpha1.BatchConditionOnTime).IsFalse() {
		add(corev1.EventTypeWarning, pace.Reason, pace.Message)
	}
	was, is := whatHolds(before), whatHolds(now)
	switch {
	case is.reason == was.reason:
	case is.reason == reasonSuspended:
		add(corev1.EventTypeNormal, is.reason, is.message)
	case is.reason != "":
		add(corev1.EventTypeWarning, is.reason, is.message)
	case before.HasBegun():
		add(corev1.EventTypeNormal, "Resumed", "The run goes on")
	}
	return out
}

// whatHolds is what a run is held by; empty for nothing.
func whatHolds(s *v1alpha1.BatchStatus) hold {
	if c := s.GetCondition(v1alpha1.BatchConditionRunning); c.IsFalse() {
		return hold{c.Reason, c.Message}
	}
	return hold{}
}

package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

// progressEvery is the least time between two writes of a progress.
const progressEvery = 5 * time.Second

// PaceProgress keeps the progress as it was before where that was written a moment ago and
// nothing else has changed since: what writes it costs doesn't follow from how many items
// there are. It returns how long to wait until it can be written; 0 where it is.
func (s *BatchStatus) PaceProgress(before *BatchStatus, now time.Time) time.Duration {
	s.ProgressTime = before.ProgressTime
	if equality.Semantic.DeepEqual(s.BatchProgress, before.BatchProgress) {
		return 0
	}
	if last := before.ProgressTime; last != nil && equality.Semantic.DeepEqual(s.besidesProgress(), before.besidesProgress()) {
		if wait := progressEvery - now.Sub(last.Time); wait > 0 {
			s.BatchProgress = before.BatchProgress
			return wait
		}
	}
	s.ProgressTime = &metav1.MicroTime{Time: now}
	return 0
}

// ProgressIsDue tells whether a progress may be written.
func (s *BatchStatus) ProgressIsDue(now time.Time) bool {
	return s.ProgressTime == nil || now.Sub(s.ProgressTime.Time) >= progressEvery
}

// ItemsDone are those that have a result, as far as the status knows.
func (s *BatchStatus) ItemsDone() int64 {
	done := int64(0)
	for _, n := range []*int64{s.Succeeded, s.Failed} {
		if n != nil {
			done += *n
		}
	}
	return done
}

// besidesProgress is all else that a status says. When a condition changed isn't known
// before all are marked.
func (s *BatchStatus) besidesProgress() *BatchStatus {
	out := s.DeepCopy()
	out.BatchProgress, out.ObservedGeneration = BatchProgress{}, 0
	for i := range out.Conditions {
		out.Conditions[i].LastTransitionTime = apis.VolatileTime{}
	}
	return out
}

package v1alpha1

import (
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

const (
	// BatchConditionSucceeded repeats Complete: true once the run is over and did what was
	// asked, false once it has failed for good.
	BatchConditionSucceeded = apis.ConditionSucceeded
	// BatchConditionPlanned is true once the input was read, counted and divided.
	BatchConditionPlanned apis.ConditionType = "Planned"
	// BatchConditionComplete is true once each item is in the output or among its errors.
	// It is false once the run has failed for good, and unknown as long as it goes on, or
	// waits.
	BatchConditionComplete apis.ConditionType = "Complete"
	// BatchConditionFailed is there, and true, once the run has failed for good: it is for
	// those who wait for that, as one does of a Job.
	BatchConditionFailed apis.ConditionType = "Failed"
	// BatchConditionRunning is true while pods work on the run, and false while something
	// keeps them from it, which it names, or leaves them nothing. It is gone when the run is over.
	BatchConditionRunning apis.ConditionType = "Running"
	// BatchConditionOnTime is there while a run with a deadline is at work: true while it will
	// be over by then at its rate, false where it won't for a while, and unknown where nobody
	// can tell.
	BatchConditionOnTime apis.ConditionType = "OnTime"
)

var batchConditions = apis.NewBatchConditionSet(BatchConditionPlanned, BatchConditionComplete)

// GetConditionSet returns the conditions that Succeeded is made of.
func (*Batch) GetConditionSet() apis.ConditionSet { return batchConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*Batch) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("Batch")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (b *Batch) GetStatus() *duckv1.Status { return &b.Status.Status }

// InitializeConditions sets every condition that is not there yet to Unknown.
func (s *BatchStatus) InitializeConditions() { batchConditions.Manage(s).InitializeConditions() }

// HasBegun tells whether what is asked for may not change any more.
func (s *BatchStatus) HasBegun() bool { return s.StartTime != nil }

// IsPlanned tells whether the input was counted and divided.
func (s *BatchStatus) IsPlanned() bool { return s.GetCondition(BatchConditionPlanned).IsTrue() }

// IsFinished tells whether the run is over, whatever came of it.
func (s *BatchStatus) IsFinished() bool {
	c := s.GetCondition(BatchConditionComplete)
	return c.IsTrue() || c.IsFalse()
}

// End is when the run has to be over; false where it has no deadline, or hasn't begun.
func (b *Batch) End() (time.Time, bool) {
	if b.Spec.Deadline == nil || b.Status.StartTime == nil {
		return time.Time{}, false
	}
	return b.Status.StartTime.Add(b.Spec.Deadline.Duration), true
}

// Expiry is when the Batch is to be deleted; false where it stays, or isn't over.
func (b *Batch) Expiry() (time.Time, bool) {
	if b.Spec.TTLAfterFinished == nil || b.Status.CompletionTime == nil {
		return time.Time{}, false
	}
	return b.Status.CompletionTime.Add(b.Spec.TTLAfterFinished.Duration), true
}

const (
	reasonBatchPlanning    = "Planning"
	reasonBatchRunning     = "Running"
	reasonBatchStarting    = "Starting"
	reasonBatchCompleted   = "Completed"
	reasonBatchNoSlack     = "NoSlack"
	reasonBatchBehind      = "Behind"
	reasonBatchTooSlow     = "TooSlow"
	reasonBatchPaceUnknown = "PaceUnknown"
)

// behindFor is how long a run has to be behind before it is too slow: replicas are called
// for, and take some time to start.
const behindFor = 20 * time.Second

// MarkPlanning says that the input is being read.
func (s *BatchStatus) MarkPlanning() {
	const message = "The input is being read, counted and divided."
	s.markUnderWay(reasonBatchPlanning, message)
	batchConditions.Manage(s).MarkTrueWithReason(BatchConditionRunning, reasonBatchPlanning, message)
}

// MarkStarting says that pods were asked for, and aren't there yet.
func (s *BatchStatus) MarkStarting() {
	const message = "The run's pods are starting."
	s.markUnderWay(reasonBatchStarting, message)
	batchConditions.Manage(s).MarkUnknown(BatchConditionRunning, reasonBatchStarting, message)
}

// MarkRunning says that items are being asked.
func (s *BatchStatus) MarkRunning() {
	const message = "Items are being asked."
	s.markUnderWay(reasonBatchRunning, message)
	batchConditions.Manage(s).MarkTrueWithReason(BatchConditionRunning, reasonBatchRunning, message)
}

// IsAsking tells whether it is said that items are being asked.
func (s *BatchStatus) IsAsking() bool {
	c := s.GetCondition(BatchConditionRunning)
	return c.IsTrue() && c.Reason == reasonBatchRunning
}

// MarkHeld says what keeps the run from going on, and what is to be done. Nothing is lost by
// it.
func (s *BatchStatus) MarkHeld(reason, message string) {
	s.markUnderWay(reason, message)
	batchConditions.Manage(s).MarkFalse(BatchConditionRunning, reason, "%s", message)
}

// MarkNoSlack says that pods work on the run, and have had no credit for an hour. It stays the
// same for as long as that lasts: since when it is said is known by it.
func (s *BatchStatus) MarkNoSlack() {
	s.MarkHeld(reasonBatchNoSlack, "For an hour the Model has had nothing left for the run: its online demand takes all of its limit, or it has no ready replica. "+
		"The run holds no replica until something is left, but for every other hour, in which it tries. Nothing is lost. "+
		"See the Model's conditions; raise its autoscaling.maxReplicas, or suspend the run.")
}

// NoSlackSince is since when it is said that nothing is left for the run, zero if it isn't.
func (s *BatchStatus) NoSlackSince() time.Time {
	if c := s.GetCondition(BatchConditionRunning); c.IsFalse() && c.Reason == reasonBatchNoSlack {
		return c.LastTransitionTime.Inner.Time
	}
	return time.Time{}
}

// markUnderWay says of all that is yet to come what it waits for.
func (s *BatchStatus) markUnderWay(reason, message string) {
	m := batchConditions.Manage(s)
	if !s.IsPlanned() {
		m.MarkUnknown(BatchConditionPlanned, reason, "%s", message)
	}
	m.MarkUnknown(BatchConditionComplete, reason, "%s", message)
}

// MarkPlanned takes over how many items there are, and in how many shards.
func (s *BatchStatus) MarkPlanned(items int64, shards int32) {
	s.Total, s.Shards = &items, &BatchShards{Total: shards}
	batchConditions.Manage(s).MarkTrue(BatchConditionPlanned)
}

// MarkPace says whether a run that is over at its rate at a time is by its deadline. It is
// told at most as often as a progress is written.
func (s *BatchStatus) MarkPace(estimate, end, now time.Time) {
	m, was := batchConditions.Manage(s), s.GetCondition(BatchConditionOnTime)
	switch {
	case !s.ProgressIsDue(now):
	case !estimate.After(end):
		m.MarkTrue(BatchConditionOnTime)
	case was.IsFalse() || was != nil && was.Reason == reasonBatchBehind && now.Sub(was.LastTransitionTime.Inner.Time) >= behindFor:
		m.MarkFalse(BatchConditionOnTime, reasonBatchTooSlow, "At its rate the run is over at %s, %s after its deadline (spec.deadline). "+
			"See whether the Model has the replicas that it is held at (its status.floors and condition Scaled); raise spec.workers and spec.maxReplicas here, "+
			"the Model's autoscaling.maxReplicas, or the deadline.",
			estimate.UTC().Format(time.RFC3339), estimate.Sub(end).Round(time.Second))
	default:
		m.MarkUnknown(BatchConditionOnTime, reasonBatchBehind, "At its rate the run isn't over by its deadline. More replicas are called for, as far as there may be more.")
	}
}

// MarkPaceUnknown says that for a while it couldn't be told when the run is over, so neither
// whether that is by its deadline. It is told at most as often as a progress is written.
func (s *BatchStatus) MarkPaceUnknown(now time.Time) {
	if s.ProgressIsDue(now) {
		batchConditions.Manage(s).MarkUnknown(BatchConditionOnTime, reasonBatchPaceUnknown, "At which rate items get their results hasn't been known for a while. "+
			"See whether the run's pods work (condition Running), and whether the Model answers.")
	}
}

// ForgetPace is for a run without a deadline.
func (s *BatchStatus) ForgetPace() {
	_ = batchConditions.Manage(s).ClearCondition(BatchConditionOnTime) // fails for those of Succeeded only
}

// MarkCompleted says that each item is in the output or among its errors.
func (s *BatchStatus) MarkCompleted(now time.Time) {
	m := batchConditions.Manage(s)
	m.MarkTrueWithReason(BatchConditionComplete, reasonBatchCompleted, "Each item is in the output or among its errors.")
	s.finish(now)
}

// MarkFailed says why the run has failed for good, and what is to be done. What it wrote
// stays.
func (s *BatchStatus) MarkFailed(now time.Time, reason, message string) {
	m := batchConditions.Manage(s)
	if !s.IsPlanned() {
		m.MarkFalse(BatchConditionPlanned, reason, "%s", message)
	}
	m.MarkFalse(BatchConditionComplete, reason, "%s", message)
	m.MarkTrueWithReason(BatchConditionFailed, reason, "%s", message)
	s.finish(now)
}

func (s *BatchStatus) finish(now time.Time) {
	s.CompletionTime = &metav1.Time{Time: now.Truncate(time.Second)}
	s.InFlight, s.RequestsPerSecond, s.EstimatedEnd = nil, nil, nil
	s.ForgetPace()
	_ = batchConditions.Manage(s).ClearCondition(BatchConditionRunning) // fails for those of Succeeded only
}

// MarkJobNotOwned says that somebody else's Job has the name of one of the run's.
func (s *BatchStatus) MarkJobNotOwned(name string) {
	s.MarkHeld(reasonNotOwned, "There is a Job \""+name+"\" that this Batch does not own; delete it, or give the Batch another name.")
}

// MarkJobNotWritten says why one of the run's Jobs could not be written: what was refused a
// person has to mend. A write that lost a race is tried again at once and says nothing.
func (s *BatchStatus) MarkJobNotWritten(name string, err error) {
	switch {
	case apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err):
	case apierrs.IsInvalid(err) || apierrs.IsBadRequest(err) || apierrs.IsForbidden(err):
		s.MarkHeld(reasonRefused, "Job \""+name+"\" was refused: "+err.Error())
	default:
		s.MarkHeld(reasonNotWritten, "Job \""+name+"\" could not be written and is tried again: "+err.Error())
	}
}

// Settle has Succeeded repeat Complete, with its reason: of its parts, the one would win
// that changed last.
func (s *BatchStatus) Settle() {
	complete := s.GetCondition(BatchConditionComplete)
	if complete == nil {
		return
	}
	batchConditions.Manage(s).SetCondition(apis.Condition{
		Type: BatchConditionSucceeded, Status: complete.Status, Severity: apis.ConditionSeverityError,
		Reason: complete.Reason, Message: complete.Message,
	})
}

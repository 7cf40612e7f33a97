package v1alpha1

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Why a trial is over, beside the bounds that it passed (see RateLimitBreach).
const (
	// TrialReasonElapsed is that its time has passed.
	TrialReasonElapsed = "Elapsed"
	// TrialReasonTakenAway is that spec.trial is gone.
	TrialReasonTakenAway = "TakenAway"
	// TrialReasonInBase is that the Model itself has come to say what was tried.
	TrialReasonInBase = "InBase"
	// TrialReasonTenantCap is that the tenant's caps have no room for it.
	TrialReasonTenantCap = "TenantCap"
	// TrialReasonInvalid is that it can't be: the webhook refuses it, and wasn't asked.
	TrialReasonInvalid = "Invalid"
	// TrialReasonBetter is that what was tried was measured better than what the Model says. It
	// is that of a trial that runs as well, until the Model says what was tried.
	TrialReasonBetter = "Better"
	// TrialReasonNotBetter is that it was measured, and is no better.
	TrialReasonNotBetter = "NotBetter"
	// TrialReasonUnverified is that it can't be told whether it is better.
	TrialReasonUnverified = "Unverified"
	// TrialReasonNotWritten is that it is better, and couldn't be written to the Model.
	TrialReasonNotWritten = "NotWritten"
)

const (
	// TrialJudgedAfter is how long after a trial's end all that came of it is known: gateways are
	// asked once a second.
	TrialJudgedAfter = 3 * time.Second
	// TrialJudgedWithin bounds the time after its end in which a trial is judged, and written to
	// the Model where it was better. What is tried is in force until then.
	TrialJudgedWithin = 30 * time.Second
)

// TrialVerdict is what was found of a trial whose time has passed.
type TrialVerdict struct {
	// Reason is Better, NotBetter or Unverified.
	Reason string
	// Message has the figures that it rests on.
	Message string
}

// baseHolds is how what is said of a trial's end ends.
const baseHolds = ". The Model goes by spec.autoscaling and spec.limit again."

// BeginTrial is the status of a trial that begins at a time.
func BeginTrial(spec *TrialSpec, at time.Time) *TrialStatus {
	return &TrialStatus{Hash: spec.Hash(), Phase: TrialRunning, StartTime: microTime(at), EndTime: microTime(at.Add(spec.For.Duration))}
}

// End is a trial that is over, for a reason and what there is to say of it, at a time.
func (s *TrialStatus) End(reason, message string, at time.Time) *TrialStatus {
	return s.over(TrialEnded, reason, strings.TrimRight(message, ". ")+baseHolds, at)
}

// Keep is a trial that is over as its values are the Model's own, at a time.
func (s *TrialStatus) Keep(at time.Time) *TrialStatus {
	if s.IsBetter() {
		return s.over(TrialKept, TrialReasonBetter, s.Message, at)
	}
	return s.over(TrialKept, TrialReasonInBase, "spec.autoscaling and spec.limit have come to say all that was tried.", at)
}

func (s *TrialStatus) over(phase TrialPhase, reason, message string, at time.Time) *TrialStatus {
	out := s.DeepCopy()
	out.Phase, out.Reason, out.Message, out.EndTime, out.Generation = phase, reason, message, microTime(at), 0
	return out
}

// FindBetter is a trial that runs, and was found to be better than what its Model says.
func (s *TrialStatus) FindBetter(message string) *TrialStatus {
	out := s.DeepCopy()
	out.Reason, out.Message = TrialReasonBetter, message
	return out
}

// IsBetter tells whether a trial was found to be better than what its Model says.
func (s *TrialStatus) IsBetter() bool { return s.Reason == TrialReasonBetter }

// Outdated is a trial whose Model has changed since it began, by which nothing can be told.
func (s *TrialStatus) Outdated(at time.Time) *TrialStatus {
	return s.End(TrialReasonUnverified, "The Model was changed while this was tried, so whether it is better than what the Model says now can't be told.", at)
}

// Unjudged is a trial whose time has passed, and that was not judged in the time that there is
// for it; or was, and couldn't be written to its Model in that.
func (s *TrialStatus) Unjudged(now time.Time) *TrialStatus {
	ended := s.EndTime.UTC().Format(time.RFC3339)
	if s.IsBetter() {
		return s.End(TrialReasonNotWritten, fmt.Sprintf("%s It could not be written to the Model within %s of the trial's end at %s",
			s.Message, TrialJudgedWithin, ended), now)
	}
	return s.End(TrialReasonUnverified, fmt.Sprintf("Whether it is better was not found out within %s of its end at %s; this was seen at %s",
		TrialJudgedWithin, ended, now.UTC().Format(time.RFC3339)), now)
}

// Release is what is left of a trial, nil for none, once spec.trial is gone: how it ended.
// Put back, the same trial begins anew.
func (s *TrialStatus) Release(at time.Time) *TrialStatus {
	switch {
	case s == nil || s.Hash == "":
		return s
	case s.Phase == TrialRunning:
		s = s.End(TrialReasonTakenAway, "spec.trial was taken away.", at)
	}
	out := s.DeepCopy()
	out.Hash = ""
	return out
}

// IsOf tells whether a status, nil for none, is about this very trial.
func (s *TrialStatus) IsOf(spec *TrialSpec) bool {
	return s != nil && spec != nil && s.Hash == spec.Hash()
}

// Runs tells whether a status, nil for none, says that this very trial runs.
func (s *TrialStatus) Runs(spec *TrialSpec) bool { return s.IsOf(spec) && s.Phase == TrialRunning }

// IsOver tells whether a status, nil for none, says that this very trial is over.
func (s *TrialStatus) IsOver(spec *TrialSpec) bool { return s.IsOf(spec) && s.Phase != TrialRunning }

// ElapsedBy tells whether a trial's time has passed by then. One that doesn't say until when
// it lasts, which nobody wrote who should, has lasted long enough.
func (s *TrialStatus) ElapsedBy(now time.Time) bool {
	return s.StartTime == nil || s.EndTime == nil || !now.Before(s.EndTime.Time)
}

// Elapse is a trial whose time has passed, at the time that this was seen.
func (s *TrialStatus) Elapse(now time.Time) *TrialStatus {
	message := "Its time has passed."
	if s.EndTime != nil && now.Sub(s.EndTime.Time) > late {
		message = fmt.Sprintf("Its time passed at %s, which was seen %s later.", s.EndTime.UTC().Format(time.RFC3339), now.Sub(s.EndTime.Time).Round(time.Second))
	}
	return s.End(TrialReasonElapsed, message, now)
}

// late is from when on an end is told to be.
const late = 10 * time.Second

// BoundsOf are what the limiter is to watch of a Model that tries other values, as its
// status has it; nil where nothing is.
func (m *Model) BoundsOf(status *TrialStatus) *RateLimitBounds {
	trial := m.Spec.Trial
	if !status.Runs(trial) || trial.Unless == nil || status.StartTime == nil {
		return nil
	}
	unless := trial.Unless.DeepCopy()
	bounds := &RateLimitBounds{Since: *status.StartTime, ErrorPercent: unless.ErrorPercent}
	if latency := unless.Latency; latency != nil {
		bounds.Latency = &LatencyBound{Percentile: DefaultTrialPercentile, Above: latency.Above}
		if latency.Percentile != nil {
			bounds.Latency.Percentile = *latency.Percentile
		}
	}
	return bounds
}

// microTime is as exact as the API keeps it, so that it is the same when it is read again.
func microTime(t time.Time) *metav1.MicroTime {
	exact := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &exact
}

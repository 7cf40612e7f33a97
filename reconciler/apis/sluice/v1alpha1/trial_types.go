package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrialSpec holds other values of the Model's for a while. When it ends, whatever ends it,
// the Model's own are in force again: they stay where they are meanwhile.
//
// Its hash tells one trial from another, so a field that is added here has to leave no
// trace in JSON where it is unset.
type TrialSpec struct {
	// For is how long it lasts at most: 10s to 24h.
	For metav1.Duration `json:"for"`
	// Autoscaling has what is tried of spec.autoscaling; all else is as that says. It wins
	// over annotations of the Model too. Neither initialReplicas nor scaleDownDelay can be
	// tried: no revision that runs takes another one.
	// +optional
	Autoscaling *AutoscalingSpec `json:"autoscaling,omitempty"`
	// Limit has what is tried of spec.limit; all else is as that says.
	// +optional
	Limit *LimitSpec `json:"limit,omitempty"`
	// Unless ends the trial as soon as one of its bounds is passed. Without it, the trial
	// lasts its time.
	// +optional
	Unless *TrialUnless `json:"unless,omitempty"`
	// Keep is when what was tried is kept by itself, once the trial's time has passed. IfBetter:
	// if it was measured better than what the Model says; then it is written to
	// spec.autoscaling and spec.limit, else the trial ends. That needs unless.latency, the goal
	// that it is judged by, and 60s at least. Unset: never.
	// +optional
	Keep TrialKeep `json:"keep,omitempty"`
}

// TrialKeep is when what was tried is kept by itself.
// +kubebuilder:validation:Enum=IfBetter
type TrialKeep string

// TrialKeepIfBetter keeps what was measured better than what the Model says.
const TrialKeepIfBetter TrialKeep = "IfBetter"

// TrialUnless are bounds of what callers get of the Model, at least one.
type TrialUnless struct {
	// ErrorPercent is the share of answers 5xx, of all requests that the limit let
	// through, above which the trial ends: 1 to 100.
	// +optional
	ErrorPercent *int32 `json:"errorPercent,omitempty"`
	// Latency is the time to answer above which the trial ends.
	// +optional
	Latency *TrialLatency `json:"latency,omitempty"`
}

// TrialLatency bounds a percentile of the time that requests take.
type TrialLatency struct {
	// Percentile of the requests that the limit let through: 1 to 99; 99 by default.
	// +optional
	Percentile *int32 `json:"percentile,omitempty"`
	// Above is what it must not be above: from 1ms, and below timeoutSeconds.
	Above metav1.Duration `json:"above"`
}

// TrialPhase is how far a trial is.
type TrialPhase string

const (
	// TrialRunning has what is tried in force.
	TrialRunning TrialPhase = "Running"
	// TrialKept is over, since the Model itself has come to say all that was tried.
	TrialKept TrialPhase = "Kept"
	// TrialEnded is over, and the Model's own values are in force.
	TrialEnded TrialPhase = "Ended"
)

// TrialStatus is the trial that runs, or the last one.
type TrialStatus struct {
	// Hash is that of the spec.trial that it is about; unset once that is gone.
	// +optional
	Hash string `json:"hash,omitempty"`
	// Phase is how far it is.
	Phase TrialPhase `json:"phase"`
	// Reason, in one word, is why it is over. Of one that runs it is Better once it was found to
	// be, until it is written to the Model.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message says the same in words.
	// +optional
	Message string `json:"message,omitempty"`
	// StartTime is when it began.
	// +optional
	StartTime *metav1.MicroTime `json:"startTime,omitempty"`
	// EndTime is when it ended, or will at the latest; one that is to be kept if it is better
	// has 30 s more, in which it is judged.
	// +optional
	EndTime *metav1.MicroTime `json:"endTime,omitempty"`
	// Generation is that of the Model when it began, of one that runs and is to be kept if it is
	// better: what was measured tells nothing of another one.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

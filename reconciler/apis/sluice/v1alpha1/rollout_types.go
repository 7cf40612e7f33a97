package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RolloutSpec says how the newest revision takes over from the one that serves. Without
// any of it, it does so by itself, no faster than its replicas become warm.
type RolloutSpec struct {
	// Paused leaves the requests split as they are.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// Percent of the requests at which the newest revision is held; 100, which is
	// never held, where unset.
	// +optional
	Percent *int32 `json:"percent,omitempty"`
	// StepPercent is the part of the replicas needed that the newest revision starts
	// with, and that it is given more of whenever these are warm; 25 by default.
	// +optional
	StepPercent *int32 `json:"stepPercent,omitempty"`
	// KeepWarm is how long the replicas of both revisions are kept after requests have
	// moved for the last time; 5m by default. Going back within it takes no start.
	// +optional
	KeepWarm *metav1.Duration `json:"keepWarm,omitempty"`
	// Undo sends the requests back to the revision that served before the newest one,
	// and keeps any newer one from getting some for as long as it is set.
	// +optional
	Undo bool `json:"undo,omitempty"`
}

// TrafficTarget gives a revision requests whatever becomes of the rollout.
type TrafficTarget struct {
	// RevisionName is the revision that is meant.
	// +optional
	RevisionName string `json:"revisionName,omitempty"`
	// LatestRevision, instead of a name, means the newest revision.
	// +optional
	LatestRevision *bool `json:"latestRevision,omitempty"`
	// Percent of the requests that the named revision gets. What is left by all
	// targets is the rollout's.
	// +optional
	Percent *int32 `json:"percent,omitempty"`
	// Tag gives the revision a host of its own, even at no percentage.
	// +optional
	Tag string `json:"tag,omitempty"`
}

// RolloutPhase is how far a rollout is.
type RolloutPhase string

const (
	// RolloutProgressing moves requests to the newest revision.
	RolloutProgressing RolloutPhase = "Progressing"
	// RolloutPaused has stopped: where it was paused, or at the percentage that it is
	// held at.
	RolloutPaused RolloutPhase = "Paused"
	// RolloutKeepingWarm is done, with the replicas of the revision before still there.
	RolloutKeepingWarm RolloutPhase = "KeepingWarm"
	// RolloutComplete is done.
	RolloutComplete RolloutPhase = "Complete"
	// RolloutUndoing moves requests back to the revision before.
	RolloutUndoing RolloutPhase = "Undoing"
	// RolloutUndone has the revision before serve.
	RolloutUndone RolloutPhase = "Undone"
	// RolloutFailed can't move requests, as the revision that is to have them is not
	// ready; the other one serves.
	RolloutFailed RolloutPhase = "Failed"
)

// RolloutStatus is the rollout under way, or the last one.
type RolloutStatus struct {
	// Phase is how far it is.
	Phase RolloutPhase `json:"phase"`
	// From is the revision that served before, to which undo goes back.
	// +optional
	From *RolloutRevision `json:"from,omitempty"`
	// To is the newest revision.
	// +optional
	To *RolloutRevision `json:"to,omitempty"`
	// Percent of the requests that To is given.
	Percent int32 `json:"percent"`
	// Replicas is how many warm ones serving all requests takes.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// Since is when the phase or the percentage last changed.
	Since metav1.Time `json:"since"`
	// Reason, in one word, is why it is not further.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message says the same in words.
	// +optional
	Message string `json:"message,omitempty"`
}

// RolloutRevision is a revision of a rollout.
type RolloutRevision struct {
	// RevisionName is its name.
	RevisionName string `json:"revisionName"`
	// Desired replicas, as its autoscaler decided.
	Desired int32 `json:"desired"`
	// Warm replicas: those that are in its endpoints.
	Warm int32 `json:"warm"`
}

// Name of the revision, "" for none.
func (r *RolloutRevision) Name() string {
	if r == nil {
		return ""
	}
	return r.RevisionName
}

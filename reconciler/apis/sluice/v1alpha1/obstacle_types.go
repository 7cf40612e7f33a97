package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RevisionObstacle is what keeps a revision from being ready, as its replicas, their
// events and Knative show it.
type RevisionObstacle struct {
	// RevisionName is its name.
	RevisionName string `json:"revisionName"`
	// Reason is one word for it.
	Reason string `json:"reason"`
	// Message is what was seen.
	Message string `json:"message"`
	// Remedy is what to do about it.
	// +optional
	Remedy string `json:"remedy,omitempty"`
	// PodName is the replica that shows it, where one does.
	// +optional
	PodName string `json:"podName,omitempty"`
	// ContainerName is the container of it that does.
	// +optional
	ContainerName string `json:"containerName,omitempty"`
	// ExitCode is the one that the container ended with, if it has.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// Since is when it was seen first.
	Since metav1.Time `json:"since"`
	// Lasts is true once it has been there for a while, or more than once, and isn't what
	// a model shows, too, that is still loading: the revision then counts as failed.
	// +optional
	Lasts bool `json:"lasts,omitempty"`
}

// Of tells whether it is a revision's.
func (o *RevisionObstacle) Of(revision string) bool { return o != nil && o.RevisionName == revision }

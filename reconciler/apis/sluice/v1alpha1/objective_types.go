package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ObjectiveSpec is what callers are promised of a Model. Nothing is scaled or limited by it:
// alerts go by how fast the errors that it leaves room for are used up.
type ObjectiveSpec struct {
	// Availability is how many in a hundred requests are to be answered with a status below
	// 500, of all that the limit lets through: from 90 to 99.999, as in 99.9. What the limit
	// refuses is no error.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Availability *resource.Quantity `json:"availability,omitempty"`
	// Latency is how long they may take.
	// +optional
	Latency *ObjectiveLatency `json:"latency,omitempty"`
}

// ObjectiveLatency is how many of a Model's requests are to be answered in time.
type ObjectiveLatency struct {
	// Threshold is the time in which a request is to be answered, whole: 5ms, 10ms, 25ms, 50ms,
	// 100ms, 250ms, 500ms, 1s, 2.5s, 5s, 10s, 30s or 1m, by which requests are counted.
	Threshold metav1.Duration `json:"threshold"`
	// Percent is how many in a hundred requests are, of all that the limit lets through: from
	// 90 to 99.999, as in 99.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Percent *resource.Quantity `json:"percent"`
}

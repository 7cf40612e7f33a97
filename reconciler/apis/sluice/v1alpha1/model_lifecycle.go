package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

const (
	// ModelConditionReady is true when every other condition is.
	ModelConditionReady = apis.ConditionReady
	// ModelConditionRevisionReady is true when the newest revision is ready.
	ModelConditionRevisionReady apis.ConditionType = "RevisionReady"
	// ModelConditionRouted is true when the gateway was seen to serve the routes.
	ModelConditionRouted apis.ConditionType = "Routed"
	// ModelConditionLimited is true when every ready gateway pod was seen to
	// enforce the limit.
	ModelConditionLimited apis.ConditionType = "Limited"
)

var modelConditions = apis.NewLivingConditionSet(
	ModelConditionRevisionReady, ModelConditionRouted, ModelConditionLimited)

// GetConditionSet returns the conditions that Ready is made of.
func (*Model) GetConditionSet() apis.ConditionSet { return modelConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*Model) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("Model")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (m *Model) GetStatus() *duckv1.Status { return &m.Status.Status }

// IsReady is true when the status speaks of this generation and is Ready.
func (m *Model) IsReady() bool {
	return m.Generation == m.Status.ObservedGeneration && m.Status.GetCondition(ModelConditionReady).IsTrue()
}

// InitializeConditions sets every condition that is not there yet to Unknown.
func (s *ModelStatus) InitializeConditions() { modelConditions.Manage(s).InitializeConditions() }

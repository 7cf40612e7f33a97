package v1alpha1

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

const (
	// RateLimitConditionReady is true when the limit is written and proved.
	RateLimitConditionReady = apis.ConditionReady
	// RateLimitConditionWritten is true when the limit's slots hold it.
	RateLimitConditionWritten apis.ConditionType = "Written"
	// RateLimitConditionProved is true when every ready gateway pod was seen to
	// enforce what is written.
	RateLimitConditionProved apis.ConditionType = "Proved"
)

var rateLimitConditions = apis.NewLivingConditionSet(RateLimitConditionWritten, RateLimitConditionProved)

// GetConditionSet returns the conditions that Ready is made of.
func (*RateLimit) GetConditionSet() apis.ConditionSet { return rateLimitConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*RateLimit) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("RateLimit")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (r *RateLimit) GetStatus() *duckv1.Status { return &r.Status.Status }

// IsReady is true when the status speaks of this generation and is Ready.
func (r *RateLimit) IsReady() bool {
	return r.Generation == r.Status.ObservedGeneration && r.Status.GetCondition(RateLimitConditionReady).IsTrue()
}

// ProvedAt tells whether this generation's limit was seen at a gateway: on all of its
// ready pods, of which there are some.
func (r *RateLimit) ProvedAt(gateway string) bool {
	return r.Generation == r.Status.ObservedGeneration && r.Status.Limit != nil &&
		slices.Contains(r.Status.Limit.ProvedGateways, gateway)
}

// Needed is how many replicas the demand calls for of a revision, 0 for none.
func (s *RateLimitStatus) Needed(revision string, now time.Time) int32 {
	if s.NeededUntil == nil || !now.Before(s.NeededUntil.Time) {
		return 0
	}
	for _, r := range s.Revisions {
		if r.Name == revision {
			return r.Needed
		}
	}
	return 0
}

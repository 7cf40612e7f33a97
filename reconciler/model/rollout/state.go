package rollout

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Revision is what was observed of one.
type Revision struct {
	// Ready is whether Knative would route to it. One that isn't ready freezes the
	// whole Route, at whatever percentage.
	Ready corev1.ConditionStatus
	// Why it is not ready, or has fewer warm replicas than it is to have, in words.
	Why string
	// Remedy is what to do about it, where that is known.
	Remedy string
	// Desired replicas, as its autoscaler decided.
	Desired int32
	// Warm replicas: those in its endpoints.
	Warm int32
	// Kept replicas, at which the rollout has held it until now.
	Kept int32
	// Held replicas, which its autoscaler was made to desire until now, by whatever it was.
	Held int32
	// Called replicas, for which the demand at the gateways calls.
	Called int32
	// Initial replicas, which it starts with whatever the demand.
	Initial int32
	// Max is its maxReplicas; 0 means no bound.
	Max int32
}

// State is what a decision is made from.
type State struct {
	// Spec is the Model's, with its defaults.
	Spec v1alpha1.RolloutSpec
	// Targets are the Model's spec.traffic.
	Targets []v1alpha1.TrafficTarget
	// MinReplicas are kept of every revision that is routed to.
	MinReplicas int32
	// Before is what was decided last; nil for nothing.
	Before *v1alpha1.RolloutStatus
	// Latest is the newest revision, or "" while it isn't known which one that is.
	Latest string
	// LatestReady is the newest revision that ever became ready.
	LatestReady string
	// Revisions that exist, by name.
	Revisions map[string]Revision
	// Split is the percentage of each revision that the Knative Service asks for,
	// those of 0 left out.
	Split Split
	// Present are the revisions that it names, be it at 0 percent or by a tag.
	Present []string
	// Floating is true if it names none and leaves all requests to the newest ready one.
	Floating bool
	// Routed is true if the gateways were seen to serve that split.
	Routed bool
	Now    time.Time
}

// Split is the percentage of the requests that each revision gets; 0 leaves no entry.
type Split map[string]int32

func (s Split) add(name string, percent int32) {
	if percent > 0 {
		s[name] += percent
	}
}

// ready is true for a revision that may be routed to.
func (s *State) ready(name string) bool { return s.Revisions[name].Ready == corev1.ConditionTrue }

// undoes is true where there is a revision to go back to and going there is asked for.
func (s *State) undoes(from string) bool { return s.Spec.Undo && from != "" }

// serving is the ready revision with the most requests besides one, "" for none.
func (s *State) serving(besides string) string {
	names := slices.DeleteFunc(slices.Collect(maps.Keys(s.Split)), func(name string) bool {
		return name == besides || !s.ready(name)
	})
	if len(names) == 0 {
		return ""
	}
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Split[b], s.Split[a]), cmp.Compare(b, a))
	})
}

// holds is true while the replicas of both revisions are kept: until the requests have
// moved, and for a while after that.
func (s *State) holds(r *v1alpha1.RolloutStatus) bool {
	return moves(r.Phase) || s.rest(r) > 0
}

func moves(p v1alpha1.RolloutPhase) bool {
	return p == v1alpha1.RolloutProgressing || p == v1alpha1.RolloutUndoing
}

// rest is for how long replicas are still kept after the requests have moved.
func (s *State) rest(r *v1alpha1.RolloutStatus) time.Duration {
	if moves(r.Phase) || r.Phase == "" || r.Phase == v1alpha1.RolloutComplete {
		return 0
	}
	return max(0, r.Since.Add(s.Spec.KeepWarm.Duration).Sub(s.Now))
}

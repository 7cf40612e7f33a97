package obstacle

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// Failure is what Knative failed to do for a revision last, since a time, and whether that
// was refused, which a person has to mend; "" for nothing.
func (a *Asked) Failure(since time.Time) (message string, refused bool) {
	if a == nil {
		return "", false
	}
	for _, e := range failures(a.Events) {
		if !When(e).Before(since) {
			return sentence(e.Message), refusals.MatchString(e.Message)
		}
	}
	return "", false
}

// refusals are what an API server says that goes by rules; not that it couldn't ask them.
var refusals = says(`denied the request`, `is forbidden`, `is invalid`, `denied request`)

// ofRevision is why Knative could not make what makes replicas of a revision, or what scales
// it, without which replicas that are ready are of no use.
func ofRevision(events []corev1.Event, s Seen) *Obstacle {
	for _, e := range failures(events) {
		ofAutoscaler := strings.HasPrefix(e.Message, autoscalerNotMade)
		switch {
		case ofAutoscaler && s.Unscaled && refusals.MatchString(e.Message):
			o := say(unscaled, e.Message)
			o.Message = sentence("Knative can't scale the revision, and needs that to make it ready: " + e.Message)
			return &o
		case !ofAutoscaler && len(s.Pods) == 0 && strings.Contains(e.Message, "forbidden"):
			return ofRefused(e.Message)
		}
	}
	return nil
}

// autoscalerNotMade begins what Knative says where a revision gets no PodAutoscaler (serving
// pkg/reconciler/revision, reconcilePA).
const autoscalerNotMade = "failed to create PA "

// failures are the events by which Knative's controllers tell of their errors, the last one
// first.
func failures(events []corev1.Event) []corev1.Event {
	failed := slices.DeleteFunc(slices.Clone(events), func(e corev1.Event) bool {
		return e.Type != corev1.EventTypeWarning || e.Reason != "InternalError"
	})
	slices.SortFunc(failed, func(a, b corev1.Event) int { return When(b).Compare(When(a)) })
	return failed
}

// maxEvents bounds those that are read of one object.
const maxEvents = 50

// EventsOf lists the events of an object, up to a bound.
func EventsOf(object types.UID) metav1.ListOptions {
	return metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(object)).String(), Limit: maxEvents,
	}
}

// When is the last time that an event tells of.
func When(e corev1.Event) time.Time {
	at := slices.MaxFunc([]time.Time{e.FirstTimestamp.Time, e.LastTimestamp.Time, e.EventTime.Time}, time.Time.Compare)
	if e.Series != nil && e.Series.LastObservedTime.After(at) {
		at = e.Series.LastObservedTime.Time
	}
	return cmp.Or(at, e.CreationTimestamp.Time)
}

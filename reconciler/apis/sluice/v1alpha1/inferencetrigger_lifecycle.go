package v1alpha1

import (
	"regexp"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

const (
	// InferenceTriggerConditionReady is true when all of the following are.
	InferenceTriggerConditionReady = apis.ConditionReady
	// InferenceTriggerConditionSubscribed is true while the Broker delivers events.
	InferenceTriggerConditionSubscribed apis.ConditionType = "Subscribed"
	// InferenceTriggerConditionModelReady is true while the Model can be asked.
	InferenceTriggerConditionModelReady apis.ConditionType = "ModelReady"
	// InferenceTriggerConditionReplyDelivered is true while the Broker delivers replies to the
	// sink, or where there is none.
	InferenceTriggerConditionReplyDelivered apis.ConditionType = "ReplyDelivered"
)

var inferenceTriggerConditions = apis.NewLivingConditionSet(
	InferenceTriggerConditionSubscribed, InferenceTriggerConditionModelReady, InferenceTriggerConditionReplyDelivered)

// GetConditionSet returns the conditions that Ready is made of.
func (*InferenceTrigger) GetConditionSet() apis.ConditionSet { return inferenceTriggerConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*InferenceTrigger) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("InferenceTrigger")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (t *InferenceTrigger) GetStatus() *duckv1.Status { return &t.Status.Status }

// InitializeConditions sets every condition that is not there yet to Unknown.
func (s *InferenceTriggerStatus) InitializeConditions() {
	inferenceTriggerConditions.Manage(s).InitializeConditions()
}

const (
	reasonSubscribing   = "Subscribing"
	reasonNotResolved   = "NotResolved"
	reasonSpecInvalid   = "Invalid"
	reasonNoSink        = "NoSink"
	reasonModelByEvent  = "ModelByEvent"
	reasonModelMissing  = "ModelMissing"
	reasonModelNotReady = "ModelNotReady"
)

// reasonWord is what a reason can be.
var reasonWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// MarkInvalid says what the webhook would have refused. Events aren't taken.
func (s *InferenceTriggerStatus) MarkInvalid(message string) {
	inferenceTriggerConditions.Manage(s).MarkFalse(InferenceTriggerConditionSubscribed, reasonSpecInvalid, "%s", message)
}

// MarkModelMissing says that there is no such Model, and what to do.
func (s *InferenceTriggerStatus) MarkModelMissing(message string) {
	inferenceTriggerConditions.Manage(s).MarkFalse(InferenceTriggerConditionModelReady, reasonModelMissing, "%s", message)
}

// MarkModelNotReady says why the Model can't be asked yet.
func (s *InferenceTriggerStatus) MarkModelNotReady(message string) {
	inferenceTriggerConditions.Manage(s).MarkUnknown(InferenceTriggerConditionModelReady, reasonModelNotReady, "%s", message)
}

// MarkModelReady says that the Model can be asked.
func (s *InferenceTriggerStatus) MarkModelReady() {
	inferenceTriggerConditions.Manage(s).MarkTrue(InferenceTriggerConditionModelReady)
}

// MarkModelByEvent says that each event names the Model of its Batch, which tells of it.
func (s *InferenceTriggerStatus) MarkModelByEvent() {
	inferenceTriggerConditions.Manage(s).MarkTrueWithReason(InferenceTriggerConditionModelReady, reasonModelByEvent,
		"Each event says which Model its Batch asks; the Batch tells of it.")
}

// MarkNoSink says that there is nobody to deliver replies to.
func (s *InferenceTriggerStatus) MarkNoSink() {
	inferenceTriggerConditions.Manage(s).MarkTrueWithReason(InferenceTriggerConditionReplyDelivered, reasonNoSink, "Replies have no sink.")
}

// triggerRemedies say what to do about what Knative says of a Trigger.
var triggerRemedies = map[string]string{
	"BrokerDoesNotExist":                       "Create the Broker, or name one of this namespace in another InferenceTrigger: spec.broker can't change.",
	"Unable to get the dead letter sink's URI": "Correct spec.delivery.deadLetterSink, or create what it names.",
	"Unable to get the Subscriber's URI":       "Correct what is named there, or create it.",
}

// PropagateTrigger takes over what Knative says of a Trigger of ours, with what to do.
func (s *InferenceTriggerStatus) PropagateTrigger(of apis.ConditionType, trigger *eventingv1.Trigger) {
	m, from := inferenceTriggerConditions.Manage(s), trigger.Status.GetTopLevelCondition()
	switch {
	case from == nil || trigger.Status.ObservedGeneration != trigger.Generation:
		m.MarkUnknown(of, reasonSubscribing, "Knative has not said yet whether Trigger %q is ready.", trigger.Name)
	case from.IsTrue():
		m.MarkTrue(of)
	default:
		reason, message := reasonOf(from), from.Message
		if remedy := triggerRemedies[from.Reason]; remedy != "" {
			message += " " + remedy
		}
		if from.IsFalse() {
			m.MarkFalse(of, reason, "%s", message)
			return
		}
		m.MarkUnknown(of, reason, "%s", message)
	}
}

// reasonOf is a condition's reason, as the API has it: one word. Some of Knative's are sentences.
func reasonOf(c *apis.Condition) string {
	switch {
	case c.Reason == "":
		return reasonSubscribing
	case reasonWord.MatchString(c.Reason):
		return c.Reason
	}
	return reasonNotResolved
}

// MarkTriggerNotWritten says why a Trigger could not be written: what was refused a person has to
// mend. A write that lost a race is tried again at once and says nothing.
func (s *InferenceTriggerStatus) MarkTriggerNotWritten(of apis.ConditionType, name string, err error) {
	m := inferenceTriggerConditions.Manage(s)
	switch {
	case apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err):
	case apierrs.IsInvalid(err) || apierrs.IsBadRequest(err) || apierrs.IsForbidden(err):
		m.MarkFalse(of, reasonRefused, "Knative refuses Trigger %q: %v", name, err)
	default:
		m.MarkUnknown(of, reasonNotWritten, "Trigger %q could not be written and is tried again: %v", name, err)
	}
}

// MarkTriggerNotOwned says that somebody else's Trigger has the name of one of ours.
func (s *InferenceTriggerStatus) MarkTriggerNotOwned(of apis.ConditionType, name string) {
	inferenceTriggerConditions.Manage(s).MarkFalse(of, reasonNotOwned,
		"There is a Trigger %q that this InferenceTrigger does not own; delete it, or give the InferenceTrigger another name.", name)
}

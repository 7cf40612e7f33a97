package v1alpha1

import (
	"context"
	"net/http"
	"time"
)

const (
	// InferenceCompletedType is the type of a trigger's replies where it doesn't say another.
	InferenceCompletedType = "dev.sluice.inference.completed.v1"

	defaultTriggerTimeout = time.Minute
)

// SetDefaults implements apis.Defaultable. A Batch that is started has the defaults of when it is.
func (t *InferenceTrigger) SetDefaults(context.Context) {
	s := &t.Spec
	r := s.Request
	if r == nil {
		return
	}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	orDuration(&r.Timeout, defaultTriggerTimeout)
	if s.Reply == nil {
		s.Reply = &TriggerReply{}
	}
	if s.Reply.To == "" {
		s.Reply.To = ReplyToBroker
		if s.Reply.Sink != nil {
			s.Reply.To = ReplyToSink
		}
	}
	if s.Reply.Type == "" && s.Reply.To != ReplyToNone {
		s.Reply.Type = InferenceCompletedType
	}
}

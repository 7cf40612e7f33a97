// Package trigger is the function that InferenceTriggers' events come to: it asks the Model, or
// starts a Batch, and answers the Broker so that it does the right thing with the event. It keeps
// nothing: what was asked when it ends, the Broker delivers again.
//
// function.go has an event's way, model.go how a Model is asked, verdict.go what comes of its
// answer, batch.go how a Batch is started, places.go how many are under way. What an event becomes
// is in mapping.
package trigger

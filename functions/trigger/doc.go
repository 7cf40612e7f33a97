// Package trigger is the function that InferenceTriggers' events come to, and those by which Brokers
// ask for Batches: it asks the Model, or starts a Batch, and answers the Broker so that it does the
// right thing with the event. It keeps nothing: what was asked when it ends, the Broker delivers again.
//
// function.go has an event's way, model.go how a Model is asked, verdict.go what comes of its
// answer, requested.go how a Broker is, batch.go how a Batch is started. What an event becomes is in
// mapping.
package trigger

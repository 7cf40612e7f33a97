// Package trigger keeps the Triggers of Knative that an InferenceTrigger owns, and its status: one
// delivers the Broker's events to the function, and one replies to a sink, where there is one.
// What becomes of an event is the function's. What the Triggers look like is in resources.
package trigger

// Package broker keeps the Trigger of Knative by which a Broker's requests for Batches come to the
// function, as long as the Broker's label says that they are taken. The Broker itself is its team's,
// and Knative's: nothing of it is written. What becomes of a request is the function's. What the
// Trigger looks like is in resources.
package broker

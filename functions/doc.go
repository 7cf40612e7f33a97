// Package functions holds what gathers, decides by pure functions and acts, each in a
// process of its own: limit keeps limits in step with replicas, warmup warms a replica up
// beside its model, batch asks a model about many items, in the workers of Jobs, trigger asks
// it for each event that comes. An event only says "look now", but for those that trigger
// answers; what is done follows from the state of the cluster. No function knows a reconciler.
package functions

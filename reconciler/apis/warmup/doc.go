// Package warmup is what the controller and the container that warms a replica up
// agree on: the plan that the one hands to the other, the status that it gets back,
// and the names, ports and paths in between. It imports nothing of Kubernetes, so
// that the container stays small.
package warmup

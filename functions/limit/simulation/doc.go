// Package simulation runs Knative's own autoscaler against the limits of package
// capacity, in simulated time, to show whether they starve it.
//
// What is real of that and what is modelled, functions/whatif/replay says; the webhook's
// warnings are real. There is nothing here but tests; with go test -v they print their
// tables.
package simulation

// Command conformance sums up a run of Knative's conformance suite for ingress
// classes against Sluice's: run.sh runs the suite on the current cluster and pipes
// what `go test -json` says of it through here. It is a module of its own, so that
// what the suite needs stays out of the product's.
package main

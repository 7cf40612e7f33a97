// Package tuning has a change of a Model that serves for each of Knative's annotations that
// are live, and tells when it has its effect. The e2e tests hold it to a bound, and a
// benchmark tells how long it takes.
package tuning

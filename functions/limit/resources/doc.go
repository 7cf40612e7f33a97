// Package resources builds the Envoy filters and EnvoyFilter objects that carry
// limits: pure functions from what is to be enforced to what is written.
package resources

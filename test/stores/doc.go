// Package stores leads tests to real stores: to those that the environment names, which are
// the local stack's where its own is used. What isn't there is brought up by name. It knows
// no cluster.
package stores

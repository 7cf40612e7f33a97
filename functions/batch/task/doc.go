// Package task is what the reconciler of a batch and its workers agree on: what a worker
// is told (Task), and what it ends with (Report). It reads and writes nothing.
package task

// Package input reads a batch's items, in one order and from any position between two of
// them, in memory that doesn't grow with the input. What can't be a request is an item all
// the same: one that has failed, with its line and the reason.
package input

// Package plan cuts an input into parts, which are worked on and put whole or not at all,
// and parts into shards. It is pure: where the cuts are follows from the input alone, so
// that whoever works on a part, first or again, works on the same items.
package plan

// Package plan cuts an input into parts, which are worked on and put whole or not at all,
// and divides them into shards of about as many items. It is pure: where the cuts are follows from the input alone, so
// that whoever works on a part, first or again, works on the same items.
package plan

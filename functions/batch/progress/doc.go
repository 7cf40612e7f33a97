// Package progress knows how far batches are, by what their workers say when they ask for
// credits: the items of each shard that have a result, and the rate of answers. It is pure: it
// is told the time, and its callers see to it that one at a time does anything.
//
// book.go has what is known of shards, rate.go the rate.
package progress

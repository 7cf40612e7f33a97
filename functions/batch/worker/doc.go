// Package worker is what the pods of a batch's Jobs run: one plans the batch, the others
// work on a shard each. For each part of it, in order, a worker reads the items, asks the
// Model about them, keeps what comes of each on disk, and commits all of it at once. What it
// is told to leave it leaves in the middle of a part, which then isn't committed.
//
// Each request has a header Idempotency-Key, which is the same whenever it is sent again: what
// a worker has asked and not committed is asked again by the next. One about several rows has a
// key of those.
package worker

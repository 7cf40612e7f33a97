// Package s3batch is a namespace in which an object that is put into a store is scored: a
// store announces it, a Broker has the event, an InferenceTrigger starts a Batch of it. The
// store is a real one, and its own, since what it announces goes to one place. `make
// demo-batch` and an e2e test share it. What is applied is in the manifests beside; what the
// input and the output have to be is decided over plain values, in rows.go and records.go.
package s3batch

// Command batch is Sluice's demo of batch: an object of rows is put into a store, the store
// announces it, and its event starts a Batch, which has a Model score each row beside live
// traffic. What is deployed is in test/s3batch; `make demo-batch` runs it.
//
// It exits with 0 only if the event started one Batch, and started none when it came again,
// each row has its one record, with the training library's score, the broken rows and no
// others are among the errors, online callers got their answers, and the batch took no more
// than they left.
package main

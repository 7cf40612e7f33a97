// Package batch keeps the Jobs that run a Batch, and its status: one Job counts the items of
// its input and divides them into shards, the other works on these. What is planned, and
// what is done, is in the output alone; here is only what Jobs and their pods tell. hold
// says what keeps a run from going on, outcome what its pods ended with, trouble what keeps
// them from starting, progress how fast it is, news who is told. What the Jobs look like is in
// resources.
package batch

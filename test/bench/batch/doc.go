// Command batch measures what batches cost online callers, and what they make of what those
// leave: on the real stack, in alternation with the same load alone, and beside the same worker
// without credits. `make bench-batch` runs it; ../README.md says how to read it.
//
// Its Models sleep for each request, so that their replicas are what is full and not the
// machine. It has a namespace and a bucket of its own, and removes both, however it ends.
package main

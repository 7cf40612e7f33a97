// Package pace bounds how many requests a batch worker has under way, by how long answers
// take: for replicas that are slower than their rate says. It is pure: it is told what took
// how long.
package pace

// Package history keeps what came to each virtual service, by second, for a day and at a
// bounded size: 172,800 bytes for each, of at most so many of them, which their owners share; and
// beside it how many of its replicas were ready, in at most 65,536 bytes. It is told what came and
// when; it reads no clock. What it wasn't told it doesn't guess: such a second is missing.
package history

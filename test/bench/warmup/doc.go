// Command warmup measures what a warm-up gives the callers of a fresh replica and what
// it costs, on a running stack, against the same Model without one in the same run.
// `make bench-warmup` runs it.
//
// It holds what it measured against bounds, prints a table, writes it as JSON and
// exits with 0 only if everything was measured and every bound was held. What is
// measured how is in ../README.md. All that it makes is in a namespace of its own,
// and is removed again.
package main

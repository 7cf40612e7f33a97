// Package load offers HTTP requests to a server on this machine at a rate that is
// fixed beforehand, whatever the server does, and tells second by second what
// became of them. The demo, the e2e tests and the benchmarks share it.
//
// It is open-loop: a request is due at its own time and its latency counts from
// then, so a slow server cannot slow the clock that measures it (no coordinated
// omission). A run is bounded in requests, in time and in requests in flight, and
// it refuses every address that isn't loopback.
package load

// Package load offers HTTP requests to a server on this machine at a rate that is
// fixed beforehand, whatever the server does, and tells second by second what
// became of them. The demo, the e2e tests and the benchmarks share it.
//
// It is open-loop: a request is due at its own time and its latency counts from
// then, so a slow server cannot slow the clock that measures it (no coordinated
// omission). A run is bounded in requests, in time and in requests in flight, and
// it refuses every address that isn't loopback.
//
// No answer is counted that a plainer client would not have had. Go's HTTP client
// writes a request again, without a word, when
//   - a reused HTTP/1.1 connection breaks before the first byte of the answer and
//     the method is GET, HEAD, OPTIONS or TRACE;
//   - an HTTP/2 server refuses a stream, or leaves it out in its GOAWAY, whatever the
//     method.
//
// Each such time is counted as Repeated, beside what became of the request in the
// end. A connection that turns out to be closed before anything was written on it
// loses nothing and isn't counted.
package load

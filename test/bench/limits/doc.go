// Command limits measures how fast limits follow replicas, how exactly they are
// held, what neighbours and the autoscaler notice of them, and how far one limiter
// carries: on the real stack, beside the same done by hand where there is such a
// thing. `make bench-limits` runs it; ../README.md says how to read it.
//
// Most of what it limits has no pods: virtual services that Envoy answers by itself,
// whose autoscalers and endpoints are real objects that the benchmark writes. All of
// them are on gateways of its own. It removes what it makes, however it ends.
package main

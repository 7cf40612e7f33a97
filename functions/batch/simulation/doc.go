// Package simulation runs what is left for batch and how it is leased, packages slack and
// credits, in simulated time against an online demand that moves, to show how much both
// together exceed what the replicas serve, for how long, and how much of what is left batch
// uses.
//
// Real are the slack, its ceiling, the ledger of leases and the workers' buckets. Modelled
// are the demand, the gateways' counters and the limiter's cadence, and what is lost,
// doubled and late on the way. There is nothing here but tests; with go test -v they print
// their tables.
package simulation

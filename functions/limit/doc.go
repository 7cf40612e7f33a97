// Package limit keeps every gateway's rate limits equal to what the replicas
// behind them can serve.
//
// Package capacity has the formulas and the token buckets, division how a limit is
// divided over gateways and entries, slots which limits a slot has room for, queue how
// many requests may wait; they are pure, and so is routing.go, which says what is served
// where. gather.go reads the cluster, function.go runs the passes, questions.go says what
// is to be proved, prove.go asks each gateway pod for it, event.go takes in CloudEvents.
// The demand that is gone by is read in demand, what becomes of the requests of Models that
// try other values in watch; bounds judges that. What a slot looks like to Envoy is in
// resources.
package limit

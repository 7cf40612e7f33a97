// Package limit keeps every gateway's rate limits equal to what the replicas
// behind them can serve.
//
// decide.go has the formulas, share.go the division of a limit over a gateway's
// pods and entries, bucket.go the token buckets; all three are pure. gather.go
// reads the cluster, function.go runs the passes, prove.go asks each gateway pod
// which limits it enforces, event.go takes in CloudEvents. What a slot looks like
// to Envoy is in resources.
package limit

// Package limit keeps every gateway's rate limits equal to what the replicas
// behind them can serve.
//
// decide.go has the formulas, cap.go what several limits may be together, share.go
// and division.go the division of a limit over gateways and entries, bucket.go the
// token buckets, routing.go what is served where; all of them are pure. gather.go
// reads the cluster, function.go runs the passes, questions.go says what is to be
// proved, prove.go asks each gateway pod for it, event.go takes in CloudEvents. What
// a slot looks like to Envoy is in resources.
package limit

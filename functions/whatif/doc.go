// Package whatif says what would come of recorded demand if a Model were tuned otherwise,
// and how it should be tuned for a latency goal. It replays the demand (package replay)
// through the very code that scales and limits Models; it asks no cluster and keeps nothing.
//
// predict.go answers a question, propose.go and candidates.go look for a better Model,
// once.go is one run of either, interval.go says how far runs differ, measured.go what has
// to be measured beside the demand.
package whatif

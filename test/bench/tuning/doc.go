// Command tuning measures how soon a tuning of a live Model has its effect, and holds what
// functions/whatif says to the real stack: demand that was predicted is run live, and what is
// proposed is tried.
//
// annotations.go, traces.go, simulate.go and proposals.go are the parts. A trace is made in
// demand.go, its Model measured in calibrate.go, and what came of both compared in verdict.go.
package main

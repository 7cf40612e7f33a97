package main

import (
	"math"
	"time"
)

// leastReplicas is how many replicas a run needs at least that is to be over by its deadline:
// none is there before it begins, and none can be of use for the first while, its cold start.
// From then on each of them serves perReplica requests a second. So it is
// ⌈requests / (perReplica · (deadline − start))⌉.
func leastReplicas(requests int, perReplica float64, deadline, start time.Duration) int {
	usable := (deadline - start).Seconds()
	if usable <= 0 {
		return math.MaxInt32
	}
	return max(1, int(math.Ceil(float64(requests)/(perReplica*usable)-1e-9)))
}

// leastSeconds is the integral of those replicas over time: all that they serve is the run's,
// and they go with its last answer, so they work requests / perReplica seconds together. Each
// is there, and costs, from the beginning of its cold start.
func leastSeconds(requests int, perReplica float64, deadline, start time.Duration) float64 {
	n := leastReplicas(requests, perReplica, deadline, start)
	return float64(requests)/perReplica + float64(n)*start.Seconds()
}

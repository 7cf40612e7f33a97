package main

import (
	"fmt"

	"sluice.dev/sluice/test/demo/internal/show"
)

const (
	explanation = "  limit: requests per second, as the limiter saw it enforced on every gateway pod\n" +
		"  formula: whether it is what the formula gives for the replicas of the second before"
	header = "  time  offered  admitted   429  errors  desired  ready     limit       p50       p99  formula"
)

// row is a line of the table, as wide as the header.
func (s sample) row() string {
	mark := "✓"
	if !s.followed {
		mark = "✗ " + show.Rate(s.Expected())
	}
	return fmt.Sprintf("%4d s  %7d  %8d  %4d  %6d  %7d  %5d  %8s  %8s  %8s  %s",
		s.Index+1, s.Offered, s.Admitted, s.Limited, s.Failed+s.Errored+s.Dropped,
		s.Desired(), s.Ready(), show.Rate(s.Limit), show.Milliseconds(s.P50), show.Milliseconds(s.P99), mark)
}

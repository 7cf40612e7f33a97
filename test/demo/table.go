package main

import (
	"fmt"
	"time"
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
		mark = "✗ " + rate(s.Expected())
	}
	return fmt.Sprintf("%4d s  %7d  %8d  %4d  %6d  %7d  %5d  %8s  %8s  %8s  %s",
		s.Index+1, s.Offered, s.Admitted, s.Limited, s.Failed+s.Errored+s.Dropped,
		s.Desired(), s.Ready(), rate(s.Limit), milliseconds(s.P50), milliseconds(s.P99), mark)
}

func rate(perSecond float64) string { return fmt.Sprintf("%g/s", perSecond) }

// milliseconds leaves out what was not measured.
func milliseconds(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	default:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
}

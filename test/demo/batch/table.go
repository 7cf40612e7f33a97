package main

import (
	"fmt"
	"strconv"
	"time"

	"sluice.dev/sluice/test/demo/internal/show"
)

const (
	explanation = "  limit, left: what the gateway admits, and what online callers leave of it, by docs/batch.md\n" +
		"  batch: requests of the batch, by the gateway's count; items to \"over in\": what the Batch says of itself"
	header = "   time  online  429       p99   limit   left  batch    items  errors  in flight  over in"
)

// row is a line of the table, as wide as the header.
func (s sample) row(now time.Time) string {
	items, failed, inFlight, over := "-", "-", "-", "-"
	if p := s.progress; p.known {
		items, failed, inFlight = strconv.FormatInt(p.succeeded, 10), strconv.FormatInt(p.failed, 10), strconv.Itoa(int(p.inFlight))
		if p.end.After(now) {
			over = fmt.Sprintf("%.0f s", p.end.Sub(now).Seconds())
		}
	}
	return fmt.Sprintf("%5d s  %6s  %3d  %8s  %6s  %5s  %5s  %7s  %6s  %9s  %7s",
		s.end, whole(s.online), s.limited, show.Milliseconds(s.p99), whole(s.limit), whole(s.left), whole(s.batch), items, failed, inFlight, over)
}

// whole is a rate in whole requests per second.
func whole(perSecond float64) string { return fmt.Sprintf("%.0f/s", perSecond) }

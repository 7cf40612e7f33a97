package main

import (
	"fmt"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
)

const (
	// slower is by how much online callers may be beside a batch, used how much of what they
	// leave it takes at least, full what it gets alone of what a load gets.
	slower, used, full = 1.05, 0.9, 0.9
)

var (
	besidePart = fmt.Sprintf("Beside: online callers of a Model of %d/s that takes %g ms", busy.perReplica, 1e3*busy.seconds)
	slackPart  = "Slack: what a batch takes of what they leave"
)

func (b *bench) reportBeside(got besides) {
	for _, level := range levels {
		at := fmt.Sprintf("at %.0f %%", 100*level)
		alone := got.alone[level]
		b.report.Add(besidePart, report.Value("p99 "+at+", beside a batch / alone", slowdown(got.batch[level], alone), "×").Within(report.AtMost, slower))
		for _, c := range []struct {
			name string
			*cell
		}{{"alone", alone}, {"beside a batch", got.batch[level]}, {"beside workers by " + string(byLatency), got.feedback[level]}, {"beside workers by " + string(byNothing), got.free[level]}} {
			b.report.Add(besidePart, report.Value(fmt.Sprintf("p99 %s, %s", at, c.name), 1e3*p99(c.latencies), "ms"))
			b.report.Add(besidePart, report.Value(fmt.Sprintf("refused %s, %s", at, c.name), 100*c.refusedPart(), "%"))
		}
	}
	for _, level := range levels {
		c := got.batch[level]
		b.report.Add(slackPart, report.Value(fmt.Sprintf("used at %.0f %%", 100*level), c.usedPart(), "×").Within(report.AtLeast, used))
		b.report.Add(slackPart, report.Value(fmt.Sprintf("batch at %.0f %%", 100*level), stats.Median(c.took), "requests/s"))
	}
	b.report.Add(slackPart,
		report.Value("a batch alone / a load alone", got.batchAlone/got.loadAlone, "×").Within(report.AtLeast, full),
		report.Value("a load alone", got.loadAlone, "requests/s"),
	)
}

// slowdown is the ratio of two cells' 99th percentiles.
func slowdown(with, without *cell) float64 { return p99(with.latencies) / p99(without.latencies) }

func (c *cell) refusedPart() float64 {
	return float64(c.refused) / float64(max(1, c.refused+len(c.latencies)))
}

// usedPart is what was taken in all turns of what was left in them.
func (c *cell) usedPart() float64 {
	took, left := 0.0, 0.0
	for i := range c.took {
		took, left = took+c.took[i], left+c.left[i]
	}
	return took / left
}

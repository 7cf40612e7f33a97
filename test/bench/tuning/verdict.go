package main

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
)

const (
	// mostOff is by how much replica-seconds may be off, in percent of what was predicted, and the
	// refused, in percentage points of what was offered.
	mostOff = 5
	// perMiss is of how many intervals one may miss what came.
	perMiss = usualTraces
)

// outcome is what was predicted of a trace, and what came.
type outcome struct {
	name      string
	predicted whatif.Figures
	// replicaSeconds of pods that start or are ready, offered and refused requests.
	replicaSeconds, offered, refused float64
}

// off is by how much its replica-seconds differ from what was predicted, in percent of that.
func (o outcome) off() float64 {
	return percentOff(o.replicaSeconds, o.predicted.ReplicaSeconds.Median)
}

// offRefused is by how much the refused part differs, in percentage points of what was offered.
func (o outcome) offRefused() float64 {
	return 100 * math.Abs(o.refused/o.offered-o.predicted.RefusedShare.Median)
}

// percentOff is NaN where nothing was predicted.
func percentOff(came, predicted float64) float64 {
	if predicted <= 0 {
		return math.NaN()
	}
	return 100 * math.Abs(came/predicted-1)
}

// covers is true if a value is in an interval, or at its bounds.
func covers(i whatif.Interval, value float64) bool { return i.Low <= value && value <= i.High }

func (o outcome) String() string {
	p := o.predicted
	return fmt.Sprintf("%.0f replica-seconds, predicted %.0f (%.0f – %.0f); %.0f of %.0f refused, predicted %.0f (%.0f – %.0f)",
		o.replicaSeconds, p.ReplicaSeconds.Median, p.ReplicaSeconds.Low, p.ReplicaSeconds.High,
		o.refused, o.offered, p.Refused.Median, p.Refused.Low, p.Refused.High)
}

// figuresOf are those of all traces.
func figuresOf(all []outcome) []report.Figure {
	var figures []report.Figure
	missed, missedRefused := 0, 0
	for _, o := range all {
		predicted := o.predicted.ReplicaSeconds
		figures = append(figures,
			report.Value(o.name+": replica-seconds off by", o.off(), "%").Within(report.AtMost, mostOff),
			report.Value(o.name+": refused off by", o.offRefused(), "points").Within(report.AtMost, mostOff),
			report.Value(o.name+": replica-seconds", o.replicaSeconds, "s"),
			report.Value(o.name+": predicted, low", predicted.Low, "s"),
			report.Value(o.name+": predicted, median", predicted.Median, "s"),
			report.Value(o.name+": predicted, high", predicted.High, "s"),
		)
		if !covers(predicted, o.replicaSeconds) {
			missed++
		}
		if !covers(o.predicted.Refused, o.refused) {
			missedRefused++
		}
	}
	most := float64(max(1, len(all)/perMiss))
	return append(figures,
		report.Value("intervals of replica-seconds without what came", float64(missed), "").Within(report.AtMost, most),
		report.Value("intervals of the refused without what came", float64(missedRefused), "").Within(report.AtMost, most),
	)
}

// startFigure tells of starts.
func startFigure(starts []time.Duration) report.Figure {
	took := make([]float64, 0, len(starts))
	for _, s := range starts {
		took = append(took, s.Seconds())
	}
	return report.Median("a replica's start", stats.Summarize(took), "s")
}

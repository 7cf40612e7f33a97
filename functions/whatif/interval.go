package whatif

import "slices"

// Interval is a figure of several runs: the median, and between which 95 % of them are, the
// 2.5th percentile and the 97.5th; of up to 39 they are the least and the most. Where the
// replay itself is known to err, it is wider by that.
type Interval struct {
	Low    float64 `json:"low"`
	Median float64 `json:"median"`
	High   float64 `json:"high"`
}

// intervalOf sums up a figure of at least one run.
func intervalOf(values []float64) Interval {
	sorted := slices.Sorted(slices.Values(values))
	last := len(sorted) - 1
	left := len(sorted) / 40 // out on each side, a fortieth at most
	return Interval{Low: sorted[left], Median: sorted[(last+1)/2], High: sorted[last-left]}
}

const (
	// ErrorOfSeconds is the share of replica-seconds by which a replay errs. With it make
	// bench-tuning finds what really came inside the intervals.
	ErrorOfSeconds = .03
	// ErrorOfRefused is the share of the requests of which it takes too many or too few for refused.
	ErrorOfRefused = .005
)

// wider is an interval with an error of so much more, and nothing below 0.
func (i Interval) wider(by float64) Interval {
	return Interval{Low: max(0, i.Low-by), Median: i.Median, High: i.High + by}
}

// Figures are what comes of a Model.
type Figures struct {
	// ReplicaSeconds are those of replicas that start or are ready, ReadySeconds of those alone
	// that are ready.
	ReplicaSeconds Interval `json:"replicaSeconds"`
	ReadySeconds   Interval `json:"readySeconds"`
	// Offered are requests, Refused those that the limit refused, Failed those that were let
	// in and found queues full or waited longer than the Model allows.
	Offered Interval `json:"offered"`
	Refused Interval `json:"refused"`
	Failed  Interval `json:"failed"`
	// RefusedShare is the part of the offered, 0 to 1.
	RefusedShare Interval `json:"refusedShare"`
	// SecondsOver are those of whose requests too many took longer than the goal; OverShare is
	// their part of the seconds in which requests came, 0 to 1.
	SecondsOver Interval `json:"secondsOver"`
	OverShare   Interval `json:"overShare"`
	// ColdStarts are how often a request came to no replica, Started the replicas that were
	// started in all, PeakReplicas the most that there were.
	ColdStarts   Interval `json:"coldStarts"`
	Started      Interval `json:"started"`
	PeakReplicas Interval `json:"peakReplicas"`
}

// outcome is what came of one run.
type outcome struct {
	replicaSeconds, readySeconds, offered, refused, failed, over, busy, coldStarts, started, peak float64
}

func (o outcome) refusedShare() float64 { return share(o.refused, o.offered) }
func (o outcome) overShare() float64    { return share(o.over, o.busy) }

func share(part, of float64) float64 {
	if of <= 0 {
		return 0
	}
	return part / of
}

// figuresOf sums up runs; of pairs it is the differences.
func figuresOf(runs []outcome, without []outcome) Figures {
	of := func(value func(outcome) float64) Interval {
		values := make([]float64, len(runs))
		for i, r := range runs {
			if values[i] = value(r); without != nil {
				values[i] -= value(without[i])
			}
		}
		return intervalOf(values)
	}
	f := Figures{
		ReplicaSeconds: of(func(o outcome) float64 { return o.replicaSeconds }),
		ReadySeconds:   of(func(o outcome) float64 { return o.readySeconds }),
		Offered:        of(func(o outcome) float64 { return o.offered }),
		Refused:        of(func(o outcome) float64 { return o.refused }),
		Failed:         of(func(o outcome) float64 { return o.failed }),
		RefusedShare:   of(outcome.refusedShare),
		SecondsOver:    of(func(o outcome) float64 { return o.over }),
		OverShare:      of(outcome.overShare),
		ColdStarts:     of(func(o outcome) float64 { return o.coldStarts }),
		Started:        of(func(o outcome) float64 { return o.started }),
		PeakReplicas:   of(func(o outcome) float64 { return o.peak }),
	}
	if without == nil { // what it errs by in both isn't in a difference
		f.ReplicaSeconds = f.ReplicaSeconds.wider(ErrorOfSeconds * f.ReplicaSeconds.Median)
		f.ReadySeconds = f.ReadySeconds.wider(ErrorOfSeconds * f.ReadySeconds.Median)
		f.Refused, f.RefusedShare = f.Refused.wider(ErrorOfRefused*f.Offered.Median), f.RefusedShare.wider(ErrorOfRefused)
		f.Refused.High, f.RefusedShare.High = min(f.Refused.High, f.Offered.High), min(f.RefusedShare.High, 1)
	}
	return f
}

package verdict

import (
	"time"

	"sluice.dev/sluice/functions/whatif/trace"
)

// measured is what was recorded of a trial.
type measured struct {
	// seconds it lasted, and known are those of which requests and replicas are recorded; busy
	// are those of these in which requests came.
	seconds, known, busy int
	// requests that came, and how many seconds replicas were ready, summed up over them.
	requests, readySeconds float64
	// first is how many replicas were ready as it began.
	first int32
}

// measure sums up what was recorded from one time until another, and returns the demand of the
// seconds that all is known of.
func measure(recorded trace.Trace, from, to time.Time) (measured, trace.Trace) {
	begin := from.Truncate(time.Second)
	if begin.Before(from) {
		begin = begin.Add(time.Second)
	}
	end := to.Truncate(time.Second)
	part := recorded.Between(begin, end)
	m := measured{seconds: int(end.Sub(begin) / time.Second)}
	demand := trace.Trace{Start: part.Start, Seconds: make([]float32, len(part.Seconds))}
	for i, n := range part.Seconds {
		if n < 0 || part.Ready == nil || part.Ready[i] < 0 {
			demand.Seconds[i] = trace.Missing
			continue
		}
		demand.Seconds[i] = n
		if m.known == 0 {
			m.first = int32(part.Ready[i])
		}
		m.known++
		m.requests += float64(n)
		m.readySeconds += float64(part.Ready[i])
		if n > 0 {
			m.busy++
		}
	}
	return m, demand
}

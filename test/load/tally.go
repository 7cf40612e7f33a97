package load

import (
	"net/http"
	"sync"
	"time"
)

// Second is what happened within one second of a run. A request is offered in the
// second in which it was due, and counts as admitted, limited, failed or errored
// in the second in which that was known.
type Second struct {
	// Index counts from 0; its end is Index+1 seconds after the start. In a
	// report's total it is the number of seconds.
	Index int
	// Offered is how many requests were due.
	Offered int
	// Admitted is how many were answered with 2xx.
	Admitted int
	// Limited is how many were answered with 429.
	Limited int
	// Failed is how many were answered with any other status.
	Failed int
	// Errored is how many got no whole answer.
	Errored int
	// Dropped is how many were never sent, because too many were in flight.
	Dropped int
	// InFlight is how many were without an answer at the second's end.
	InFlight int
	// P50 and P99 are latencies of the admitted, from when each was due.
	P50, P99 time.Duration
}

// Report is what happened in a whole run.
type Report struct {
	// Start is when the first second began.
	Start time.Time
	// Seconds in order; the last one may be shorter.
	Seconds []Second
	// Total over all seconds.
	Total Second
	// Codes counts answers by status code.
	Codes map[int]int
	// Errors are the first few different transport errors.
	Errors []string
}

// maxErrors is how many different errors a report keeps.
const maxErrors = 8

// tally counts what happens, second by second.
type tally struct {
	mu       sync.Mutex
	inFlight int
	now      Second
	latency  latencies
	all      latencies
	report   Report
}

func newTally(start time.Time) *tally {
	return &tally{report: Report{Start: start, Codes: map[int]int{}}}
}

// offer counts a request that is due.
func (t *tally) offer() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Offered++
	t.inFlight++
}

// drop counts an offered request that is not sent.
func (t *tally) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Dropped++
	t.inFlight--
}

// done counts an answer, or that there was none.
func (t *tally) done(status int, err error, latency time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
	switch {
	case err != nil:
		t.now.Errored++
		t.keep(err.Error())
		return
	case status >= 200 && status < 300:
		t.now.Admitted++
		t.latency.add(latency)
	case status == http.StatusTooManyRequests:
		t.now.Limited++
	default:
		t.now.Failed++
	}
	t.report.Codes[status]++
}

// keep remembers an error's text unless it is known, or there are enough.
func (t *tally) keep(text string) {
	for _, known := range t.report.Errors {
		if known == text {
			return
		}
	}
	if len(t.report.Errors) < maxErrors {
		t.report.Errors = append(t.report.Errors, text)
	}
}

// next ends the present second and begins another.
func (t *tally) next() Second {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := t.now
	ended.InFlight = t.inFlight
	ended.P50, ended.P99 = t.latency.quantile(0.50), t.latency.quantile(0.99)
	t.report.Seconds = append(t.report.Seconds, ended)
	t.all.merge(&t.latency)
	t.now, t.latency = Second{Index: ended.Index + 1}, latencies{}
	return ended
}

// end returns the report of all seconds that have ended.
func (t *tally) end() *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := Sum(t.report.Seconds)
	total.P50, total.P99 = t.all.quantile(0.50), t.all.quantile(0.99)
	t.report.Total = total
	return &t.report
}

// Sum adds up seconds; latencies don't add up and stay 0.
func Sum(seconds []Second) Second {
	sum := Second{Index: len(seconds)}
	for _, s := range seconds {
		sum.Offered += s.Offered
		sum.Admitted += s.Admitted
		sum.Limited += s.Limited
		sum.Failed += s.Failed
		sum.Errored += s.Errored
		sum.Dropped += s.Dropped
		sum.InFlight = s.InFlight
	}
	return sum
}

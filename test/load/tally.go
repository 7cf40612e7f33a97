package load

import (
	"fmt"
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
	// Errored is how many got no whole answer, or none by the protocol asked for.
	Errored int
	// Repeated is how many times a request was written again, because the connection
	// broke or the server refused it: see the package's documentation.
	Repeated int
	// Dropped is how many were never sent, because too many were in flight.
	Dropped int
	// InFlight is how many were without an answer at the second's end.
	InFlight int
	// Within is how many of the admitted were sent in the same second as they were
	// answered: so many were let in within it, whatever answers of others had been held
	// up. It is known at the run's end.
	Within int
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
	// Connections are the totals by kind of connection, of the kinds in use.
	Connections map[Connection]Second
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
	kinds    map[Connection]*kindTally
	// within has Second.Within, by index.
	within map[int]int
	report Report
}

// kindTally is what happened over one kind of connection.
type kindTally struct {
	Second
	latency latencies
}

// outcome is what became of a request.
type outcome struct {
	connection Connection
	// status and header are the answer's, if there was a whole one.
	status int
	header http.Header
	// repeats is how many times it was written again.
	repeats int
	err     error
	latency time.Duration
	// sent and answered are when.
	sent, answered time.Time
}

func newTally(start time.Time) *tally {
	return &tally{kinds: map[Connection]*kindTally{}, within: map[int]int{}, report: Report{Start: start, Codes: map[int]int{}}}
}

// offer counts a request that is due.
func (t *tally) offer(over Connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(over, func(s *Second) { s.Offered++ })
	t.inFlight++
}

// drop counts an offered request that is not sent.
func (t *tally) drop(over Connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(over, func(s *Second) { s.Dropped++ })
	t.inFlight--
}

// done counts an answer, or that there was none.
func (t *tally) done(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
	t.count(o.connection, o.addTo)
	if o.err != nil {
		t.keep(fmt.Sprintf("%s: %v", o.connection, o.err))
		return
	}
	t.report.Codes[o.status]++
	if o.admitted() {
		t.latency.add(o.latency)
		t.kind(o.connection).latency.add(o.latency)
		if second := t.second(o.sent); second == t.second(o.answered) {
			t.within[second]++
		}
	}
}

// second is the index of the one in which a moment is.
func (t *tally) second(at time.Time) int { return int(at.Sub(t.report.Start) / time.Second) }

func (o outcome) admitted() bool { return o.err == nil && o.status >= 200 && o.status < 300 }

func (o outcome) addTo(s *Second) {
	s.Repeated += o.repeats
	switch {
	case o.err != nil:
		s.Errored++
	case o.admitted():
		s.Admitted++
	case o.status == http.StatusTooManyRequests:
		s.Limited++
	default:
		s.Failed++
	}
}

// count counts in the present second and in the total of a kind of connection.
func (t *tally) count(over Connection, add func(*Second)) {
	add(&t.now)
	add(&t.kind(over).Second)
}

func (t *tally) kind(of Connection) *kindTally {
	if t.kinds[of] == nil {
		t.kinds[of] = &kindTally{}
	}
	return t.kinds[of]
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
	for i := range t.report.Seconds {
		t.report.Seconds[i].Within = t.within[i]
	}
	total := Sum(t.report.Seconds)
	total.P50, total.P99 = t.all.quantile(0.50), t.all.quantile(0.99)
	t.report.Total = total
	t.report.Connections = map[Connection]Second{}
	for kind, counted := range t.kinds {
		counted.Index = total.Index
		counted.P50, counted.P99 = counted.latency.quantile(0.50), counted.latency.quantile(0.99)
		t.report.Connections[kind] = counted.Second
	}
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
		sum.Repeated += s.Repeated
		sum.Dropped += s.Dropped
		sum.InFlight = s.InFlight
		sum.Within += s.Within
	}
	return sum
}

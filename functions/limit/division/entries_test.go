package division

import (
	"math"
	"testing"
	"time"
)

// traffic is offered to the entries of a gateway that are divided by what was seen of it.
type traffic struct {
	division Division
	limit    float64
	// pods of the gateway, of which one gets it all; 0 is 1.
	pods int
	now  time.Duration
	// offered since the last poll, seen as it is averaged over polls, by entry.
	offered, seen [3]float64
	tokens        [3]float64
	// due is when shares that were decided are at the gateway.
	due     time.Duration
	decided Division
	moves   int
}

const (
	poll = time.Second
	// written is how long it takes until a bucket follows a decision.
	written = 500 * time.Millisecond
	burst   = 0.1
)

// rate and depth of an entry's bucket.
func (f *traffic) rate(entry int) float64 {
	return f.division.shares.rate(f.limit, entry) / float64(max(1, f.pods))
}

func (f *traffic) depth(entry int) float64 { return math.Ceil(f.rate(entry)*burst) + 1 }

// request is one more at an entry, so long after the last, and returns whether it is
// admitted.
func (f *traffic) request(entry int, after time.Duration) bool {
	before := f.now
	f.now += after
	if f.now/poll > before/poll {
		f.look()
	}
	if f.due != 0 && f.now >= f.due {
		f.division, f.due = f.decided, 0
		for e := range f.tokens {
			f.tokens[e] = f.depth(e) // what changes is full
		}
	}
	for e := range f.tokens {
		f.tokens[e] = min(f.depth(e), f.tokens[e]+f.rate(e)*after.Seconds())
	}
	f.offered[entry]++
	if f.tokens[entry] < 1 {
		return false
	}
	f.tokens[entry]--
	return true
}

func (f *traffic) look() {
	for e := range f.seen {
		f.seen[e] = (f.seen[e] + f.offered[e]) / 2
		f.offered[e] = 0
	}
	last := f.division
	if f.due != 0 {
		last = f.decided
	}
	next := last.Next([]Site{of(f.pods, plain("a", f.seen[0], f.seen[2]))}, f.limit, time.Unix(0, 0).Add(f.now))
	if !next.same(f.division) {
		f.due, f.moves = f.now+written, f.moves+1
	} else {
		f.division = next
	}
	f.decided = next
}

func (d Division) same(other Division) bool {
	for i := range d.shares {
		if d.shares[i] != other.shares[i] {
			return false
		}
	}
	return true
}

// offer has requests come evenly for a time, and returns how many of them are refused.
func (f *traffic) offer(entry int, rate float64, lasts time.Duration) (refused int) {
	for range int(rate * lasts.Seconds()) {
		if !f.request(entry, time.Duration(float64(time.Second)/rate)) {
			refused++
		}
	}
	return refused
}

// Traffic that goes from one entry to another, and back, finds room there, as far as all
// of it is below the limit's part of each entry; and what it needs moves few shares.
func TestTrafficThatChangesItsEntry(t *testing.T) {
	const external, local = 0, 2
	for _, demand := range []float64{5, 10, 20, 30, 40} {
		f := &traffic{limit: 100, division: Division{}.Next([]Site{plain("a", 0, 0)}, 100, time.Unix(0, 0))}
		f.decided = f.division
		const lasts = 20 * time.Second
		first := f.offer(external, demand, lasts)
		there := f.offer(local, demand, lasts)
		back := f.offer(external, demand, lasts)
		t.Logf("%g/s: %d refused at first, %d at the other entry, %d back; shares moved %d times", demand, first, there, back, f.moves)
		if first+there+back > 0 {
			t.Errorf("%g/s at a limit of 100/s: %d refused at first, %d when it went to another entry, %d when it came back", demand, first, there, back)
		}
		if f.moves > 5 {
			t.Errorf("%g/s: shares moved %d times", demand, f.moves)
		}
	}
}

// Of two pods one may get all that callers send, as few connections as they keep: none of
// it is refused up to four tenths of the limit.
func TestOneOfTwoPodsGetsItAll(t *testing.T) {
	for _, demand := range []float64{5, 10, 20, 30, 33, 38} {
		for entry, name := range map[int]string{0: "external", 2: "local"} {
			start := Division{}.Next([]Site{of(2, plain("a", 0, 0))}, 100, time.Unix(0, 0))
			f := &traffic{limit: 100, pods: 2, division: start, decided: start}
			settling := f.offer(entry, demand, 5*time.Second)
			after := f.offer(entry, demand, time.Minute)
			t.Logf("%g/s at the %s entry: %d refused at first, %d then; shares moved %d times", demand, name, settling, after, f.moves)
			if after > 0 || entry == 0 && settling > 0 {
				t.Errorf("%g/s at the %s entry and a limit of 100/s: %d refused at first, %d then", demand, name, settling, after)
			}
		}
	}
}

// A demand that begins finds what its entry has, however little of it is seen at first.
func TestADemandBegins(t *testing.T) {
	for _, demand := range []float64{10, 30, 50, 75, 90} {
		start := Division{}.Next([]Site{plain("a", 0, 0)}, 100, time.Unix(0, 0))
		f := &traffic{limit: 100, division: start, decided: start}
		f.now = 700 * time.Millisecond // the first reading has a part of a second
		if refused := f.offer(0, demand, 20*time.Second); refused > 0 {
			t.Errorf("%g/s at a limit of 100/s: %d refused", demand, refused)
		}
	}
}

package main

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// second is a time that many seconds after the beginning of all.
func second(n float64) time.Time { return time.Unix(0, int64(n*1e9)) }

func TestLedgerSettlesWhatAWriteOvertakes(t *testing.T) {
	l := newLedger()
	l.event("a", 7, second(0)) // nobody knows it yet
	l.write("a", 10, second(0))
	for i, scale := range []int{2, 3, 4} {
		l.event("a", scale, second(float64(i)))
	}
	l.write("a", 30, second(5)) // three replicas
	l.write("a", 30, second(6)) // a neighbour's change
	if l.unwritten() != 1 {
		t.Errorf("%d unwritten, want a's four replicas", l.unwritten())
	}
	l.write("a", 40, second(8))
	if got := l.close(second(9)); !slices.Equal(got, []float64{5, 4, 6}) || l.unwritten() != 0 {
		t.Errorf("settled after %v, %d unwritten", got, l.unwritten())
	}
}

func TestLedgerTakesTheOldestOfEqualStates(t *testing.T) {
	l := newLedger()
	l.write("a", 1, second(0))
	for i, scale := range []int{2, 3, 2} {
		l.event("a", scale, second(float64(i)))
	}
	l.write("a", 2, second(10))
	if l.unwritten() != 0 {
		t.Error("the last state is written")
	}
	if got := l.close(second(20)); !slices.Equal(got, []float64{10, 19, 18}) {
		t.Errorf("settled after %v", got)
	}
}

// However events and writes come, no time is shorter than that from an event to the
// first write at or after it.
func TestLedgerNeverFlatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger()
		l.write("a", 1, second(0))
		now, events, writes, last := 0.0, []float64{}, []float64{0}, 1
		for range rapid.IntRange(1, 40).Draw(t, "moments") {
			now++
			if rapid.Bool().Draw(t, "event") {
				last = last%4 + 1
				l.event("a", last, second(now))
				events = append(events, now)
			} else {
				l.write("a", float64(last), second(now))
				writes = append(writes, now)
			}
		}
		now++
		settled := l.close(second(now))
		if len(settled) != len(events) {
			t.Fatalf("%d settled of %d", len(settled), len(events))
		}
		for i, took := range settled {
			first := now
			for _, w := range writes {
				if w >= events[i] {
					first = min(first, w)
				}
			}
			if took < first-events[i] {
				t.Errorf("event at %v settled after %v, but the first write after it was at %v", events[i], took, first)
			}
		}
	})
}

package main

import (
	"slices"
	"sync"
	"time"
)

// ledger tells how long each scale event took to be written. An event is settled by
// the first write that shows its state or a later one: what was overtaken needs no
// write of its own.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
	// settled are the times, in seconds, that events took.
	settled []float64
}

// account is one subject's.
type account struct {
	// base is the rate that its slot shows for one replica.
	base float64
	// shown is the scale that was last written.
	shown int
	open  []entry
}

// entry is an event that isn't settled.
type entry struct {
	scale int
	at    time.Time
}

func newLedger() *ledger { return &ledger{accounts: map[string]*account{}} }

// event notes that a subject is sent to a scale. Events of one subject come in order.
func (l *ledger) event(name string, scale int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[name]; a != nil {
		a.open = append(a.open, entry{scale: scale, at: at})
	}
}

// write notes that a slot shows a rate for a subject. The first one seen of a subject
// is that of one replica.
//
// Scales come again after a while. Where several open events could be meant, it is
// the oldest: that can make times longer and never shorter.
func (l *ledger) write(name string, rate float64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	if a == nil {
		l.accounts[name] = &account{base: rate, shown: 1}
		return
	}
	a.shown = int(rate/a.base + 0.5)
	l.settle(a, slices.IndexFunc(a.open, func(e entry) bool { return e.scale == a.shown }), at)
}

// settle settles the open events up to one of them.
func (l *ledger) settle(a *account, last int, at time.Time) {
	for _, e := range a.open[:last+1] {
		l.settled = append(l.settled, at.Sub(e.at).Seconds())
	}
	a.open = slices.Delete(a.open, 0, last+1)
}

// unwritten is how many subjects' last events aren't written, once no more come.
func (l *ledger) unwritten() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.accounts {
		if len(a.open) > 0 && a.open[len(a.open)-1].scale != a.shown {
			n++
		}
	}
	return n
}

// close ends the account of the events so far. Those that are open although the last
// state is written were overtaken by it; those that never were count as settled now.
func (l *ledger) close(at time.Time) []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		l.settle(a, len(a.open)-1, at)
	}
	out := l.settled
	l.settled = nil
	return out
}

// known is how many subjects have been seen.
func (l *ledger) known() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accounts)
}

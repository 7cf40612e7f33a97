package main

import (
	"slices"
	"sync"
	"time"
)

// outages are what is killed and isn't there again.
type outages struct {
	mu   sync.Mutex
	away map[string]bool
	// back is when each was there again.
	back map[string]time.Time
}

func newOutages() *outages { return &outages{away: map[string]bool{}, back: map[string]time.Time{}} }

func (o *outages) begin(of string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away[of] = true
}

func (o *outages) end(of string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.away, of)
	o.back[of] = at
}

// forget takes one for there that can't be waited for.
func (o *outages) forget(of string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.away, of)
}

// over returns when all of some were there again; false while one isn't.
func (o *outages) over(of []string) (last time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.away {
		if slices.Contains(of, name) {
			return time.Time{}, false
		}
	}
	for _, name := range of {
		if at := o.back[name]; at.After(last) {
			last = at
		}
	}
	return last, true
}

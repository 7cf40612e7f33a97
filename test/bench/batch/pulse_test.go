package main

import (
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	p := &pulse{}
	p.note(at(0), map[string]int64{"a/0": 0})
	p.note(at(100), map[string]int64{"a/0": 3})
	p.note(at(200), map[string]int64{"a/0": 3})
	p.note(at(300), map[string]int64{})          // it is killed
	p.note(at(1300), map[string]int64{"a/0": 2}) // and is there again, as nobody tells
	p.note(at(1400), map[string]int64{"a/1": 4}) // but then
	p.note(at(1500), map[string]int64{"a/1": 4, "b/0": 1})
	for _, tt := range []struct {
		after, want int
	}{{0, 100}, {50, 1300}, {100, 1300}, {300, 1300}, {301, 1400}, {1301, 1500}} {
		if got, ok := p.after(at(tt.after)); !ok || !got.Equal(at(tt.want)) {
			t.Errorf("after %d ms: %s, %t; want %d ms", tt.after, got.Sub(began), ok, tt.want)
		}
	}
	if _, ok := p.after(at(1500)); ok {
		t.Error("there is none yet")
	}
	if got := p.answered(); got != 3+2+4+1 {
		t.Errorf("%d were answered", got)
	}
	if got := p.longest(); got != 200*time.Millisecond {
		t.Errorf("without an answer for %s", got)
	}
}

package main

import (
	"testing"
	"time"
)

func TestOutages(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o, ours := newOutages(), []string{"limiter", "worker of a"}
	if at, ok := o.over(ours); !ok || !at.IsZero() {
		t.Errorf("before any: %s, %t", at, ok)
	}
	o.begin("limiter")
	o.begin("worker of b")
	o.begin("worker of a")
	o.end("worker of a", began.Add(time.Second))
	if at, ok := o.over(ours); ok {
		t.Errorf("the limiter is away, but all are there since %s", at)
	}
	o.end("limiter", began.Add(3*time.Second))
	if at, ok := o.over(ours); !ok || !at.Equal(began.Add(3*time.Second)) {
		t.Errorf("all are there again: %s, %t", at, ok)
	}
	o.begin("limiter")
	if _, ok := o.over(ours); ok {
		t.Error("the limiter is away again")
	}
}

package main

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLeast(t *testing.T) {
	for _, tt := range []struct {
		deadline, start time.Duration
		replicas        int
		seconds         float64
	}{
		{time.Minute, 2 * time.Second, 5, 250},
		{2 * time.Minute, 2 * time.Second, 3, 246},
		{5 * time.Minute, 2 * time.Second, 1, 242},
		{time.Minute, 0, 4, 240},
		{time.Minute, time.Minute, math.MaxInt32, math.Inf(1)},
	} {
		n, seconds := leastReplicas(2400, 10, tt.deadline, tt.start), leastSeconds(2400, 10, tt.deadline, tt.start)
		if n != tt.replicas || !math.IsInf(tt.seconds, 1) && math.Abs(seconds-tt.seconds) > 1e-9 {
			t.Errorf("%s, start %s: %d replicas, %g replica-seconds; want %d, %g", tt.deadline, tt.start, n, seconds, tt.replicas, tt.seconds)
		}
	}
}

// So many do it in time, and one less don't.
func TestLeastIsEnoughAndNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		requests, rate := rapid.IntRange(1, 1e6).Draw(t, "requests"), rapid.Float64Range(0.1, 1000).Draw(t, "rate")
		start := time.Duration(rapid.IntRange(0, 60).Draw(t, "start")) * time.Second
		deadline := start + time.Duration(rapid.IntRange(1, 3600).Draw(t, "usable"))*time.Second
		n, usable := float64(leastReplicas(requests, rate, deadline, start)), (deadline - start).Seconds()
		if n*rate*usable < float64(requests)*(1-1e-9) {
			t.Fatalf("%g serve %g of %d", n, n*rate*usable, requests)
		}
		if n > 1 && (n-1)*rate*usable > float64(requests)*(1+1e-9) {
			t.Fatalf("%g would do, not %g", n-1, n)
		}
		if got, want := leastSeconds(requests, rate, deadline, start), float64(requests)/rate; got < want {
			t.Fatalf("%g replica-seconds, but the work alone takes %g", got, want)
		}
	})
}

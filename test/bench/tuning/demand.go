package main

import (
	"math"
	"math/rand/v2"
	"time"

	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/test/load"
)

const (
	// level is the demand that takes half of a replica beside whole ones: at level × (2k - 1)
	// the autoscaler wants k replicas, and isn't about to want another number.
	level = .35 * perReplica
	// settled is the beginning of each trace in which its demand stays as it is: what is
	// predicted begins as if it had always been there.
	settled = 10
	// stepsPerSecond is into how many steps a second is cut in which requests come by chance.
	stepsPerSecond = 20
)

// shape is a demand over a minute, in requests per second by the time in seconds; a longer one is
// as much slower.
type shape func(at float64) float64

func steps(at float64) float64 {
	return level * []float64{1, 1, 5, 5, 3, 7}[int(at/10)]
}

func ramp(at float64) float64 {
	return level * (1 + 6*math.Min(1, math.Max(0, (at-settled)/35)))
}

func bursts(at float64) float64 {
	if into := math.Mod(at, 25); at >= settled && into >= 15 && into < 20 {
		return 8 * level
	}
	return 3 * level
}

func fromZero(at float64) float64 {
	if at < settled {
		return 0
	}
	return level * 5
}

// beyond is half as much again, for half of the time, as two replicas serve.
func beyond(at float64) float64 {
	if at < 15 || at >= 45 {
		return 3 * level
	}
	return 3 * perReplica
}

func even(float64) float64 { return 5 * level }

// demand is a trace of a shape: the requests of each second are drawn, with a chance of its own
// that is the same each time.
func demand(of shape, lasts time.Duration, seed uint64) trace.Trace {
	chance := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a trace has to be the same each time
	t := trace.Trace{Start: time.Unix(0, 0), Seconds: make([]float32, int(lasts.Seconds()))}
	due := 0.
	for i := range t.Seconds {
		n := of(float64(i) * time.Minute.Seconds() / lasts.Seconds())
		if i >= settled {
			n = drawn(chance, n)
		}
		due += n
		t.Seconds[i] = float32(math.Floor(due))
		due -= math.Floor(due)
	}
	return t
}

// drawn is a number of requests that come by chance, so many on average (D. Knuth, The Art of
// Computer Programming, volume 2, 3.4.1).
func drawn(chance *rand.Rand, mean float64) float64 {
	n, least := 0., math.Exp(-mean)
	for p := chance.Float64(); p > least; p *= chance.Float64() {
		n++
	}
	return n
}

// begins is the demand that a trace begins with, in requests per second.
func begins(t trace.Trace) float64 {
	sum := 0.
	first := t.Seconds[:min(settled, len(t.Seconds))]
	for _, n := range first {
		sum += float64(n)
	}
	return sum / float64(len(first))
}

// scheduled is when a trace's requests are due, after a time in which the demand that it begins
// with is there: each comes at a moment of its second, by chance.
func scheduled(t trace.Trace, lead time.Duration, seed uint64) load.Schedule {
	chance := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // as above
	var schedule load.Schedule
	second := func(requests int) {
		var steps [stepsPerSecond]float64
		for range requests {
			steps[chance.IntN(stepsPerSecond)]++
		}
		for _, n := range steps {
			schedule = append(schedule, load.Hold(n*stepsPerSecond, time.Second/stepsPerSecond))
		}
	}
	before, due := begins(t), 0.
	for range int(lead.Seconds()) {
		due += before
		second(int(due))
		due -= math.Floor(due)
	}
	for _, n := range t.Seconds {
		second(int(n))
	}
	return schedule
}

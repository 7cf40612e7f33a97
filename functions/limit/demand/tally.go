package demand

import (
	"maps"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	// memory is how much of the demand before a reading is kept after PollEvery, or what a
	// virtual service has for it: a change of entry shows within about three.
	memory = 0.5
	// standsFor is how long the rates of a pod stand that can't be read; then they
	// fade. One that serves but can't be read is rare and short.
	standsFor = 10 * time.Second
	// leastRate, in requests per second, is taken for none where PollEvery is what demand is
	// averaged by.
	leastRate = 0.001
)

// halfLives are how long half of the demand before is kept, by virtual service, where that
// is longer than PollEvery.
type halfLives map[string]time.Duration

func (h halfLives) of(virtualService string) time.Duration {
	return max(PollEvery, h[virtualService])
}

// kept tells the part of a virtual service's demand that is kept after so many seconds:
// usual, where nothing is said of it.
func (h halfLives) kept(elapsed, usual float64) func(series) float64 {
	return func(s series) float64 {
		if life := h.of(s.virtualService); life > PollEvery {
			return math.Pow(memory, elapsed/life.Seconds())
		}
		return usual
	}
}

// series is one counter of a pod.
type series struct {
	virtualService string
	// entry is its place in gateway.Entries.
	entry int
	// marked is true for the counter of those requests alone that carry the mark; the other
	// has them, too.
	marked bool
}

// counts are requests since a pod's start, or since whatever else reset its counters.
type counts map[series]float64

// tally is what is known of one pod.
type tally struct {
	gateway string
	// counts are those read last, at that time; nil if there are none to compare with.
	counts counts
	at     time.Time
	// over is how long before that they were read before.
	over time.Duration
	// served are the virtual services that there were then: what had no counter of
	// theirs had counted nothing.
	served sets.Set[string]
	// rates are averaged, in requests per second. They are settled once they have come
	// from two readings, or the pod couldn't be read for long.
	rates   map[series]float64
	settled bool
	// logged is when the log last told of the pod.
	logged time.Time
}

// read takes in what a pod shows and returns the requests that came since it was read
// last, be that one poll ago or more. A counter that fell was reset; it counts from its
// new value on.
func (t *tally) read(r reading, served sets.Set[string], slow halfLives) (came counts) {
	before, elapsed := t.counts, r.at.Sub(t.at).Seconds()
	usual := math.Pow(memory, elapsed/PollEvery.Seconds())
	if before != nil && !t.settled {
		usual = 0 // there is nothing to average with
	}
	kept := slow.kept(elapsed, usual)
	rates, came := faded(t.rates, slow, kept), counts{}
	for s, count := range r.counts {
		if before == nil || elapsed <= 0 || count <= before[s] {
			continue
		}
		if _, ok := before[s]; ok || t.served.Has(s.virtualService) {
			rates[s] += (1 - kept(s)) * (count - before[s]) / elapsed
			came[s] = count - before[s]
		}
	}
	t.settled = t.settled || before != nil
	t.over = max(r.at.Sub(t.at), time.Millisecond)
	t.counts, t.at, t.served, t.rates = r.counts, r.at, served, rates
	return came
}

// fade takes a pod's demand back as if no more requests came.
func (t *tally) fade() {
	all := func(series) float64 { return memory }
	t.rates, t.settled = faded(t.rates, nil, all), true
}

func faded(rates map[series]float64, slow halfLives, kept func(series) float64) map[series]float64 {
	out := make(map[series]float64, len(rates))
	for s, rate := range rates {
		out[s] = kept(s) * rate
	}
	maps.DeleteFunc(out, func(s series, rate float64) bool {
		return rate < leastRate*PollEvery.Seconds()/slow.of(s.virtualService).Seconds()
	})
	return out
}

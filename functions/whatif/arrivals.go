package whatif

import (
	"math"
	"math/rand/v2"

	"sluice.dev/sluice/functions/whatif/replay"
)

// single is up to how many requests of a second each comes at a moment of its own; of more,
// how many come in a step is drawn.
const single = 64

// arrivals put requests into a second: they come by chance, as many as there were. That is
// a Poisson process of which the count of each second is known.
type arrivals struct {
	chance *rand.Rand
	// rest is the part of a request that hasn't come yet, where there are fractions.
	rest float64
}

// of are the requests of each step of a second.
func (a *arrivals) of(requests float64, steps *replay.Steps) {
	*steps = replay.Steps{}
	a.rest += requests
	n := math.Floor(a.rest + 1e-6)
	a.rest -= n
	if n <= single {
		for range int(n) {
			steps[a.chance.IntN(replay.PerSecond)]++
		}
		return
	}
	left := n
	for i := range steps {
		// Of those that are left, each comes in this step by the same chance.
		p := 1 / float64(replay.PerSecond-i)
		came := math.Round(left*p + math.Sqrt(left*p*(1-p))*a.chance.NormFloat64())
		steps[i] = min(left, max(0, came))
		left -= steps[i]
	}
}

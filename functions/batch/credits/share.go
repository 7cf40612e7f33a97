package credits

import (
	"math"
	"slices"
)

// level is up to what each of those who want some of a rate gets what it wants, so that all
// of it is used, or nobody lacks anything: max-min fair shares. It is infinite if there is
// enough for all.
func level(rate float64, wants []float64) float64 {
	sorted := slices.Sorted(slices.Values(wants))
	for i, want := range sorted {
		if rest := float64(len(sorted) - i); want*rest >= rate {
			return rate / rest
		}
		rate -= want
	}
	return math.Inf(1)
}

// levels are up to what each gets: what it wants, or what it needs where that is more.
type levels struct {
	wants, needs float64
}

// of is what those get who want so much and need so much of it.
func (l levels) of(want, need float64) float64 { return max(min(want, l.wants), min(need, l.needs)) }

// levelAbove is level where some need a part of what they want, in the order of wants, that
// they are to have before others have any: if that is more than the rate, all of it is shared
// by what they need.
func levelAbove(rate float64, wants, needs []float64) levels {
	sum := 0.0
	for _, need := range needs {
		sum += need
	}
	if sum >= rate {
		return levels{needs: level(rate, needs)}
	}
	at := level(rate, wants)
	for {
		rest, others := rate, make([]float64, 0, len(wants))
		for i, want := range wants {
			if needs[i] > at {
				rest -= needs[i]
			} else {
				others = append(others, want)
			}
		}
		next := level(rest, others)
		if next >= at {
			return levels{wants: at, needs: math.Inf(1)}
		}
		at = next
	}
}

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

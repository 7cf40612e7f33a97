// Package stats reduces what a benchmark measured in alternated rounds. The
// machine's speed drifts and other things run on it, so nothing here is a mean:
// one slow round must not decide.
package stats

import (
	"math"
	"slices"
)

// Summary is the middle of some samples and where half of them lie. Its fields are
// NaN where there are no samples.
type Summary struct {
	// Median and the lower and upper quartile.
	Median, Low, High float64
	// N is the number of samples.
	N int
}

// Summarize returns the summary of samples in any order.
func Summarize(samples []float64) Summary {
	sorted := slices.Sorted(slices.Values(samples))
	return Summary{
		Median: quantile(sorted, 0.5),
		Low:    quantile(sorted, 0.25),
		High:   quantile(sorted, 0.75),
		N:      len(sorted),
	}
}

// Quantile returns the value below which the fraction q, 0 to 1, of the samples
// lies; between two samples it is interpolated. NaN where there are none.
func Quantile(samples []float64, q float64) float64 {
	return quantile(slices.Sorted(slices.Values(samples)), q)
}

// Median is the half quantile.
func Median(samples []float64) float64 { return Quantile(samples, 0.5) }

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := min(1, max(0, q)) * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Ratios divides each of a by the b of the same round: both saw the machine as it
// was then. Rounds without a positive b count as infinite, so that they show.
func Ratios(a, b []float64) []float64 {
	ratios := make([]float64, 0, min(len(a), len(b)))
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		} else {
			ratios = append(ratios, math.Inf(1))
		}
	}
	return ratios
}

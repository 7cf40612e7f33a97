package warmup

import (
	"math"
	"slices"
)

// confidence is the one-sided quantile of the normal distribution for 95 %.
const confidence = 1.6449

// levelledOff tells whether a series has stopped falling: whether, with a confidence
// of 95 %, it fell by no more than tolerance (a fraction of its median) over its last
// window values.
//
// The fall is estimated by the median of the slopes between all pairs of values
// (Theil, 1950), which up to 29 % of outliers don't move; its confidence limit follows
// from the distribution of Kendall's tau, as the ranks of these slopes (Sen, Estimates
// of the regression coefficient based on Kendall's tau, JASA 63, 1968). So it is the
// Mann-Kendall test, turned around: what has to be shown is not a trend but that there
// is none worth waiting for, and noise makes it take longer instead of hiding a fall.
func levelledOff(series []float64, window int, tolerance float64) bool {
	if len(series) < window {
		return false
	}
	last := series[len(series)-window:]
	return fall(last) <= tolerance*median(last)
}

// fall is the upper confidence limit of how far the values fall from the first to the
// last; negative where they surely rise.
func fall(values []float64) float64 {
	slopes := make([]float64, 0, len(values)*(len(values)-1)/2)
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			slopes = append(slopes, (values[j]-values[i])/float64(j-i))
		}
	}
	slices.Sort(slopes)
	n, pairs := float64(len(values)), float64(len(slopes))
	deviation := math.Sqrt(n * (n - 1) * (2*n + 5) / 18)
	rank := int((pairs - confidence*deviation) / 2)
	return -slopes[max(0, rank-1)] * (n - 1)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

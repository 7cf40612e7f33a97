package stats

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    Summary
	}{
		{samples: []float64{7}, want: Summary{Median: 7, Low: 7, High: 7, N: 1}},
		{samples: []float64{4, 1, 3, 2}, want: Summary{Median: 2.5, Low: 1.75, High: 3.25, N: 4}},
		{samples: []float64{5, 1, 4, 2, 3}, want: Summary{Median: 3, Low: 2, High: 4, N: 5}},
		{samples: []float64{1, 1, 1, 1000}, want: Summary{Median: 1, Low: 1, High: 250.75, N: 4}},
	} {
		if got := Summarize(c.samples); got != c.want {
			t.Errorf("Summarize(%v) is %+v, want %+v", c.samples, got, c.want)
		}
	}
}

func TestNoSamplesAreNoFigure(t *testing.T) {
	if got := Summarize(nil); !math.IsNaN(got.Median) || !math.IsNaN(got.Low) || !math.IsNaN(got.High) || got.N != 0 {
		t.Errorf("summary of nothing is %+v", got)
	}
}

func TestRatiosArePaired(t *testing.T) {
	got := Ratios([]float64{2, 30, 5, 1}, []float64{1, 10, 0})
	if want := []float64{2, 3, math.Inf(1)}; !slices.Equal(got, want) {
		t.Errorf("ratios are %v, want %v", got, want)
	}
}

// A quantile lies within the samples, grows with q, and doesn't mind their order.
func TestQuantileProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "samples")
		before := slices.Clone(samples)
		p := rapid.Float64Range(0, 1).Draw(t, "p")
		q := rapid.Float64Range(p, 1).Draw(t, "q")
		low, high := Quantile(samples, p), Quantile(samples, q)
		if low > high+1e-9 {
			t.Errorf("quantile %v is %v, above quantile %v of %v", p, low, q, high)
		}
		if low < slices.Min(samples)-1e-9 || high > slices.Max(samples)+1e-9 {
			t.Errorf("quantiles %v and %v lie outside %v", low, high, samples)
		}
		slices.Reverse(samples)
		if again := Quantile(samples, p); again != low {
			t.Errorf("reversed, quantile %v is %v, not %v", p, again, low)
		}
		slices.Reverse(samples)
		if !slices.Equal(samples, before) {
			t.Error("the samples were changed")
		}
	})
}

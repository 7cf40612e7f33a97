package warmup

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A warm-up as models show it, a decaying exponential with noise, comes to its end,
// and not before most of the fall is over.
func TestLevelsOffAfterADecay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			random    = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			level     = rapid.Float64Range(0.1, 1000).Draw(t, "level")
			height    = rapid.Float64Range(0, 100).Draw(t, "height")
			rounds    = rapid.Float64Range(0.1, 100).Draw(t, "rounds of decay")
			noise     = rapid.Float64Range(0, 0.1).Draw(t, "noise")
			window    = rapid.IntRange(5, 50).Draw(t, "window")
			tolerance = rapid.Float64Range(0.05, 0.5).Draw(t, "tolerance")
			series    []float64
		)
		at := func(i int) float64 { return level * (1 + height*math.Exp(-float64(i)/rounds)) }
		for i := range 4000 {
			series = append(series, at(i)*(1+noise*random.NormFloat64()))
			if levelledOff(series, window, tolerance) {
				// A sudden fall before may lie in the window still, as outliers; noise may
				// hide one about as large as itself.
				before, last := at(i-window/2), at(i)
				if fell := (before - last) / last; fell > tolerance+6*noise+0.01 {
					t.Fatalf("levelled off at round %d, having fallen by %.0f %% over half a window", i, 100*fell)
				}
				return
			}
		}
		t.Fatal("never levelled off")
	})
}

// A steady fall beyond the tolerance is never taken for its end, as long as noise
// doesn't drown it.
func TestNeverLevelsOffWhileFalling(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			random    = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			window    = rapid.IntRange(5, 50).Draw(t, "window")
			tolerance = rapid.Float64Range(0.01, 0.4).Draw(t, "tolerance")
			excess    = rapid.Float64Range(1.01, 2).Draw(t, "excess")
			noise     = rapid.Float64Range(0, 1).Draw(t, "noise") * tolerance * (excess - 1) / 4
			// The same relative fall in every window, for as long as it lasts.
			ratio  = math.Pow((1-tolerance*excess/2)/(1+tolerance*excess/2), 1/float64(window-1))
			value  = 1000.0
			series []float64
		)
		for range 10 * window {
			series = append(series, value*(1+noise*(2*random.Float64()-1)))
			value *= ratio
			if levelledOff(series, window, tolerance) {
				t.Fatalf("levelled off after %d rounds", len(series))
			}
		}
	})
}

// Up to a quarter of rounds that something else held up change nothing.
func TestOutliersDontMatter(t *testing.T) {
	t.Parallel()
	series := make([]float64, 20)
	for i := range series {
		series[i] = 10 + 0.01*float64(i%3)
	}
	for _, i := range []int{1, 4, 11} {
		series[i] = 500
	}
	if !levelledOff(series, 20, 0.1) {
		t.Error("not levelled off")
	}
	if levelledOff(series[:19], 20, 0.1) {
		t.Error("levelled off before a window was seen")
	}
}

func TestFall(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		values []float64
		want   float64
	}{
		"level":   {[]float64{3, 3, 3, 3, 3}, 0},
		"falling": {[]float64{9, 8, 7, 6, 5}, 4},
		"rising":  {[]float64{5, 6, 7, 8, 9}, -4},
	} {
		if got := fall(tt.values); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", name, got, tt.want)
		}
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %g, want 2.5", got)
	}
}

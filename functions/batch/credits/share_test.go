package credits

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLevel(t *testing.T) {
	for name, tt := range map[string]struct {
		rate  float64
		wants []float64
		want  float64
	}{
		"nobody asks":                {10, nil, math.Inf(1)},
		"enough for all":             {10, []float64{3, 6}, math.Inf(1)},
		"just enough":                {9, []float64{3, 6}, 6},
		"alike":                      {10, []float64{50, 50}, 5},
		"who wants little has it":    {10, []float64{1, 50, 50}, 4.5},
		"nothing":                    {0, []float64{1, 2}, 0},
		"nothing, and nothing asked": {0, []float64{0}, 0},
	} {
		if got := level(tt.rate, tt.wants); got != tt.want {
			t.Errorf("%s: level() = %g, want %g", name, got, tt.want)
		}
	}
}

// All of a rate is used or all that is wanted, nobody has more than he wants, and who lacks
// something has no less than anybody else: that is what max-min fair means.
func TestLevelIsMaxMinFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0, 1e4).Draw(t, "rate")
		wants := rapid.SliceOfN(rapid.Float64Range(0, 1e3), 1, 30).Draw(t, "wants")
		before, all, used := slices.Clone(wants), 0.0, 0.0
		at := level(rate, wants)
		for _, want := range wants {
			all += want
			used += min(want, at)
		}
		if !slices.Equal(wants, before) {
			t.Fatal("the wants were changed")
		}
		if math.Abs(used-min(rate, all)) > 1e-6 {
			t.Fatalf("of %g, %g are used where %g are wanted", rate, used, all)
		}
	})
}

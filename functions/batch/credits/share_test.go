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

// What is needed comes first, and beyond that nobody has more than who lacks something: all
// of the rate is used, or all that is wanted.
func TestNeedsComeFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		rate               float64
		wants, needs, want []float64
	}{
		"nobody needs any":               {10, []float64{50, 50}, []float64{0, 0}, []float64{5, 5}},
		"a fair part is enough":          {10, []float64{50, 50}, []float64{4, 0}, []float64{5, 5}},
		"one needs more":                 {10, []float64{50, 50}, []float64{8, 0}, []float64{8, 2}},
		"all of it is needed":            {10, []float64{50, 50}, []float64{10, 0}, []float64{10, 0}},
		"more is needed than there is":   {10, []float64{50, 50, 50}, []float64{20, 2, 0}, []float64{8, 2, 0}},
		"what isn't wanted is the other": {10, []float64{3, 50}, []float64{3, 0}, []float64{3, 7}},
		"enough for all":                 {10, []float64{3, 4}, []float64{3, 0}, []float64{3, 4}},
	} {
		at := levelAbove(tt.rate, tt.wants, tt.needs)
		for i, want := range tt.want {
			if got := at.of(tt.wants[i], tt.needs[i]); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s: %d gets %g, want %g", name, i, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0, 1e4).Draw(t, "rate")
		wants := rapid.SliceOfN(rapid.Float64Range(0, 1e3), 1, 30).Draw(t, "wants")
		needs, needed, all := make([]float64, len(wants)), 0.0, 0.0
		for i, want := range wants {
			needs[i] = want * rapid.SampledFrom([]float64{0, 0, .3, 1}).Draw(t, "needed")
			needed, all = needed+needs[i], all+want
		}
		at, used, most, lacks := levelAbove(rate, wants, needs), 0.0, 0.0, math.Inf(1)
		for i, want := range wants {
			got := at.of(want, needs[i])
			used += got
			if got > want+1e-9 || needed < rate && got < needs[i]-1e-9 {
				t.Fatalf("%d gets %g, wants %g and needs %g", i, got, want, needs[i])
			}
			if got > needs[i]+1e-9 {
				most = max(most, got)
			}
			if got < want-1e-9 {
				lacks = min(lacks, got)
			}
		}
		if math.Abs(used-min(rate, all)) > 1e-6 {
			t.Fatalf("of %g, %g are used where %g are wanted", rate, used, all)
		}
		if most > lacks+1e-6 {
			t.Fatalf("one has %g, which it doesn't need, while another lacks more than %g", most, lacks)
		}
	})
}

package bounds

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlow(t *testing.T) {
	buckets := []Bucket{{UpTo: 100, Count: 10}, {UpTo: 200, Count: 30}, {UpTo: 400, Count: 30}, {UpTo: 800, Count: 40}}
	for _, tt := range []struct {
		name              string
		above, want, seen float64
	}{
		{"where a bucket ends", 200, 20, 200},
		{"within one, all of which may be quick", 150, 20, 200},
		{"within the last", 500, 10, 800},
		{"within the first", 50, 40, 100},
		{"where nothing is", 300, 20, 400},
		{"the last bound", 800, 10, 800},
		{"beyond it, of what nobody knows how slow it is", 900, 0, 0},
	} {
		if got, seen := Slow(buckets, 50, tt.above); got != tt.want || seen != tt.seen {
			t.Errorf("%s: Slow(%g) = %g above %g, want %g above %g", tt.name, tt.above, got, seen, tt.want, tt.seen)
		}
	}
	if got, _ := Slow(nil, 50, 100); got != 0 {
		t.Errorf("%g are slow of a histogram without buckets", got)
	}
}

// However durations lie in their buckets, no more are told to be slow than are, and what is told
// falls with the bound.
func TestSlowIsNeverTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOf(rapid.Float64Range(0, 1000)).Draw(t, "took")
		var buckets []Bucket
		at := 0.0
		for range rapid.IntRange(1, 10).Draw(t, "buckets") {
			at += rapid.Float64Range(0.5, 100).Draw(t, "wide")
			buckets = append(buckets, Bucket{UpTo: at, Count: float64(len(took)) - longer(took, at)})
		}
		above := rapid.Float64Range(0, at).Draw(t, "above")
		got, seen := Slow(buckets, float64(len(took)), above)
		if most := longer(took, above); got > most {
			t.Errorf("%g are slower than %g, want at most %g", got, above, most)
		}
		if want := longer(took, seen); got != want || seen < above {
			t.Errorf("%g are slower than %g, where %g is the bound; want %g", got, seen, above, want)
		}
		if slower, _ := Slow(buckets, float64(len(took)), above+1); slower > got {
			t.Errorf("%g are slower than %g, and more, %g, than a millisecond above", got, above, slower)
		}
	})
}

// longer is how many took longer than a time.
func longer(took []float64, than float64) float64 {
	n := 0.0
	for _, ms := range took {
		if ms > than {
			n++
		}
	}
	return n
}

// The slow of two pods are all above the lower of the bounds by which these tell.
func TestPlusIsAboveTheLowerBound(t *testing.T) {
	for _, tt := range []struct{ a, b, want time.Duration }{{250, 220, 220}, {220, 250, 220}, {0, 220, 220}, {220, 0, 220}, {0, 0, 0}} {
		if got := (Counts{Above: tt.a}).Plus(Counts{Above: tt.b}).Above; got != tt.want {
			t.Errorf("above %d and %d: above %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

package history

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/whatif/trace"
)

// How many replicas were ready is told of each second, for as long as who tells was there.
func TestScale(t *testing.T) {
	const m = trace.Missing
	h := New(1, owner)
	h.Tell(moment(0), nil, all)
	scales := map[int]int32{1: 1, 4: 3, 5: 3, 18: 0}
	for second := 1; second <= 20; second++ {
		if n, ok := scales[second]; ok {
			h.Scale(moment(float64(second)), map[string]int32{"m": n})
		}
		h.Tell(moment(float64(second)), one(5), all)
	}
	got, ok := h.Of("m", time.Time{})
	want := []float32{1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, m, m, 0, 0, 0}
	if !ok || !slices.Equal(got.Ready, want) || len(got.Seconds) != len(want) {
		t.Errorf("%v of %v, want %v", got.Ready, got.Seconds, want)
	}
	if got, _ := h.Of("m", moment(15)); !slices.Equal(got.Ready, want[15:]) {
		t.Errorf("%v, want %v", got.Ready, want[15:])
	}

	nobody := New(1, owner)
	nobody.Scale(moment(0), map[string]int32{"else": 3})
	for second := range 3 {
		nobody.Tell(moment(float64(second)), one(5), all)
	}
	if got, ok := nobody.Of("m", time.Time{}); !ok || got.Ready != nil {
		t.Errorf("%v, where nobody told", got.Ready)
	}
}

// However it changes, what is kept is bounded, and all that is told of a second is true.
func TestStairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s stairs
		first := rapid.Int64Range(0, 10).Draw(t, "first")
		var was []int32
		n := rapid.SampledFrom([]int{1, 100, mostSteps + 50}).Draw(t, "seconds")
		for i := range n {
			ready := int32(i % 2)
			if n < mostSteps {
				ready = rapid.Int32Range(unknown, 1).Draw(t, "ready")
			}
			was = append(was, ready)
			s.note(first+int64(i), ready)
		}
		if len(s) > mostSteps {
			t.Fatalf("%d changes are kept", len(s))
		}
		lost := max(0, len(was)-mostSteps)
		for i, n := range s.between(first, first+int64(len(was))) {
			if n != float32(was[i]) && (n != trace.Missing || i >= lost) {
				t.Fatalf("second %d of %d had %d, and %g is told", i, len(was), was[i], n)
			}
		}
	})
	var s stairs
	s.note(0, 3)
	s.note(10, 4)
	s.note(seconds+9, 5)
	if s[0].from != 0 {
		t.Error("what still counts is forgotten")
	}
	s.note(seconds+10, 6)
	if len(s) != 3 || s[0].from != 10 {
		t.Errorf("%v is kept, want what holds in the last day", s)
	}
}

package load

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestArrivalsOfAConstantRate(t *testing.T) {
	got := slices.Collect(Schedule{Hold(4, time.Second)}.Arrivals())
	want := []time.Duration{125 * time.Millisecond, 375 * time.Millisecond, 625 * time.Millisecond, 875 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("arrivals at 4/s = %v, want %v", got, want)
	}
}

func TestRateIsPiecewiseLinear(t *testing.T) {
	s := Schedule{Hold(10, 2*time.Second), Ramp(10, 30, 4*time.Second)}
	for at, want := range map[time.Duration]float64{
		-time.Second: 0, 0: 10, 2 * time.Second: 10, 4 * time.Second: 20, 6 * time.Second: 0,
	} {
		if got := s.Rate(at); got != want {
			t.Errorf("rate at %v = %v, want %v", at, got, want)
		}
	}
	if got := s.Requests(); got != 100 {
		t.Errorf("requests = %d, want 100", got)
	}
}

func TestScheduleRefusesWhatIsNoRate(t *testing.T) {
	for text, s := range map[string]Schedule{
		"no segment":                   {},
		"schedule[0]: lasts 0s":        {Hold(1, 0)},
		"schedule[1]: a rate of -1":    {Hold(1, time.Second), Ramp(0, -1, time.Second)},
		"schedule[0]: a rate of NaN":   {Hold(math.NaN(), time.Second)},
		"schedule[0]: a rate of +Inf,": {Hold(math.Inf(1), time.Second)},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: error %v, want it to contain %q", s, err, text)
		}
	}
}

// Whatever the schedule: requests come in order, each within the schedule, as many
// as announced, and up to any second never more than half a request off its
// integral.
func TestArrivalsFollowTheIntegral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Segment {
			return Ramp(
				rapid.Float64Range(0, 200).Draw(t, "from"),
				rapid.Float64Range(0, 200).Draw(t, "to"),
				time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms"))*time.Millisecond)
		}), 1, 5).Draw(t, "schedule")
		schedule := Schedule(s)
		arrivals := slices.Collect(schedule.Arrivals())
		if len(arrivals) != schedule.Requests() {
			t.Fatalf("%d arrivals, %d announced", len(arrivals), schedule.Requests())
		}
		if !slices.IsSorted(arrivals) {
			t.Fatalf("arrivals out of order: %v", arrivals)
		}
		if n := len(arrivals); n > 0 && (arrivals[0] < 0 || arrivals[n-1] > schedule.Duration()) {
			t.Fatalf("arrivals from %v to %v, outside of %v", arrivals[0], arrivals[n-1], schedule.Duration())
		}
		integral, start := 0.0, time.Duration(0)
		for _, segment := range schedule {
			integral += segment.requests(segment.Lasts)
			start += segment.Lasts
			n, _ := slices.BinarySearch(arrivals, start)
			if math.Abs(float64(n)-integral) > half+1e-3 {
				t.Fatalf("%d arrivals by %v, want %.2f", n, start, integral)
			}
		}
	})
}

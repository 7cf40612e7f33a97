package bounds

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var began = time.Unix(2_000_000_000, 0)

// tried is a Model with bounds, whose pods are read each second.
type tried struct {
	bounds v1alpha1.RateLimitBounds
	seen   Watch
	now    time.Time
	// shows is what each pod has counted.
	shows map[string]Counts
}

func try(b v1alpha1.RateLimitBounds, pods ...string) *tried {
	b.Since = metav1.NewMicroTime(began)
	m := &tried{bounds: b, now: began, shows: map[string]Counts{}}
	for _, name := range pods {
		m.shows[name] = Counts{Completed: 1000, Errors: 500, Timed: 1000, Slow: 500}
	}
	m.second(nil)
	return m
}

// second passes with what comes to each pod, and pods that can't be read.
func (m *tried) second(came map[string]Counts, unread ...string) *v1alpha1.RateLimitBreach {
	readings := map[string]Reading{}
	for name, counts := range came {
		m.shows[name] = m.shows[name].Plus(counts)
	}
	for name, counts := range m.shows {
		readings[name] = Reading{Counts: counts}
	}
	for _, name := range unread {
		readings[name] = Reading{Err: errors.New("connection refused")}
	}
	m.now = m.now.Add(time.Second)
	m.seen = m.seen.Next(m.now, readings)
	return m.seen.Breach(m.bounds, m.now)
}

func errorsAbove(percent int32) v1alpha1.RateLimitBounds {
	return v1alpha1.RateLimitBounds{ErrorPercent: ptr.Int32(percent)}
}

func slowAbove(percentile int32) v1alpha1.RateLimitBounds {
	return v1alpha1.RateLimitBounds{Latency: &v1alpha1.LatencyBound{Percentile: percentile, Above: metav1.Duration{Duration: 250 * time.Millisecond}}}
}

// requests of one second, some of them bad in one way or the other.
func requests(n, failed, slow float64) map[string]Counts {
	return map[string]Counts{"a": {Completed: n, Errors: failed, Timed: n, Slow: slow}}
}

func TestBreach(t *testing.T) {
	for name, tt := range map[string]struct {
		bounds v1alpha1.RateLimitBounds
		// each second so many come, of which so many fail and so many are slow.
		each, failed, slow float64
		// reason, if the bounds are passed, and within how many seconds.
		reason string
		within int
	}{
		"all are slow":                       {slowAbove(99), 50, 0, 50, v1alpha1.BreachLatency, 1},
		"all are slow, one a second":         {slowAbove(99), 1, 0, 1, v1alpha1.BreachLatency, 4},
		"all are slow, of which 5 % may be":  {slowAbove(95), 10, 0, 10, v1alpha1.BreachLatency, 1},
		"all are slow, of which half may be": {slowAbove(50), 5, 0, 5, v1alpha1.BreachLatency, 4},
		"a tenth is slow":                    {slowAbove(99), 20, 0, 2, v1alpha1.BreachLatency, 7},
		"all fail":                           {errorsAbove(2), 50, 50, 0, v1alpha1.BreachErrorPercent, 1},
		"a tenth fails":                      {errorsAbove(2), 20, 2, 0, v1alpha1.BreachErrorPercent, 10},
		"half fail, of which a fifth may":    {errorsAbove(20), 10, 5, 0, v1alpha1.BreachErrorPercent, 8},
		"a little too many fail":             {errorsAbove(2), 20, 1, 0, v1alpha1.BreachErrorPercent, 60},
		"just as many fail as may":           {errorsAbove(10), 20, 2, 0, "", 0},
		"fewer are slow than may be":         {slowAbove(90), 20, 0, 1, "", 0},
		"failures, which nobody bounds":      {slowAbove(99), 50, 50, 0, "", 0},
		"slow ones, which nobody bounds":     {errorsAbove(1), 50, 0, 50, "", 0},
		"all may fail":                       {errorsAbove(100), 50, 50, 0, "", 0},
		"nothing comes":                      {errorsAbove(1), 0, 0, 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := try(tt.bounds, "a", "b")
			for second := 1; second <= 300; second++ {
				breach := m.second(requests(tt.each, tt.failed, tt.slow))
				if breach == nil {
					continue
				}
				if breach.Reason != tt.reason || second > tt.within || !breach.Since.Equal(&m.bounds.Since) {
					t.Errorf("after %d s: %+v, want %q within %d s", second, breach, tt.reason, tt.within)
				}
				return
			}
			if tt.reason != "" {
				t.Errorf("no breach in five minutes, want %s", tt.reason)
			}
		})
	}
}

func TestBreachesSayWhatWasSeen(t *testing.T) {
	m := try(slowAbove(95), "a")
	const want = "20 of the 20 requests that ended in the last 10 s took longer than 280ms; latency allows 5 % above 250ms, as its percentile is 95"
	if got := m.second(map[string]Counts{"a": {Completed: 20, Timed: 20, Slow: 20, Above: 280 * time.Millisecond}}); got.Message != want {
		t.Errorf("message %q, want %q", got.Message, want)
	}
	m = try(errorsAbove(2), "a")
	const failed = "9 of the 10 requests that ended in the last 10 s were answered with a status of 500 or above; errorPercent allows 2 %"
	if got := m.second(requests(10, 9, 0)); got.Message != failed {
		t.Errorf("message %q, want %q", got.Message, failed)
	}
}

// One bad request ends no trial, nor does one every minute, whatever may be bad.
func TestOneBadRequestIsNoBreach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := slowAbove(rapid.Int32Range(1, 99).Draw(t, "percentile"))
		b.ErrorPercent = ptr.Int32(rapid.Int32Range(1, 100).Draw(t, "errorPercent"))
		others := float64(rapid.IntRange(0, 100).Draw(t, "others each second"))
		m := try(b, "a")
		for second := range 150 {
			bad := 0.0
			if second%61 == 0 {
				bad = 1
			}
			if breach := m.second(requests(others+bad, bad, bad)); breach != nil {
				t.Fatalf("after %d s: %+v", second+1, breach)
			}
		}
	})
}

// Chance ends no trial within a day where requests fail and are slow as often as may be,
// each by itself.
func TestNoiseIsNoBreach(t *testing.T) {
	for seed, each := range []int{1, 20} {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		b := slowAbove(95)
		b.ErrorPercent = ptr.Int32(2)
		m := try(b, "a")
		for second := range 24 * 60 * 60 {
			failed, slow := 0.0, 0.0
			for range each {
				if random.Float64() < 0.02 {
					failed++
				}
				if random.Float64() < 0.05 {
					slow++
				}
			}
			if breach := m.second(requests(float64(each), failed, slow)); breach != nil {
				t.Fatalf("%d a second: after %d s: %+v", each, second+1, breach)
			}
		}
	}
}

// What a pod had counted before it was first read is no trial's, nor is what it counted
// before its counters were reset.
func TestOnlyWhatComesCounts(t *testing.T) {
	b := slowAbove(99)
	b.ErrorPercent = ptr.Int32(1)
	m := try(b, "a")
	bad := Counts{Completed: 900, Errors: 900, Timed: 900, Slow: 900}
	m.shows["new"] = bad
	if breach := m.second(requests(10, 0, 0)); breach != nil {
		t.Errorf("what a new pod had counted counts: %+v", breach)
	}
	m.shows["new"] = Counts{Completed: 5, Timed: 5}
	if breach := m.second(requests(10, 0, 0)); breach != nil {
		t.Errorf("counters that were reset count: %+v", breach)
	}
	delete(m.shows, "new")
	for range int(long / time.Second) {
		m.second(nil)
	}
	m.shows["new"] = bad
	if breach := m.second(nil); breach != nil {
		t.Errorf("what a pod had counted that was gone counts: %+v", breach)
	}
	m.shows["new"] = bad.Plus(bad)
	if breach := m.second(nil); breach == nil || breach.Reason != v1alpha1.BreachErrorPercent {
		t.Errorf("what came counts for nothing: %+v", breach)
	}
}

// A pod that is missing from some lists goes on from what it had counted.
func TestPodThatIsMissedForAMoment(t *testing.T) {
	for name, tt := range map[string]struct {
		missed int
		want   bool
	}{
		"from one list":            {1, true},
		"for just under a minute":  {int(long/time.Second) - 2, true},
		"longer than is looked at": {int(long / time.Second), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := try(errorsAbove(2), "a", "b")
			gone := m.shows["b"]
			delete(m.shows, "b")
			for range tt.missed {
				if breach := m.second(requests(1, 0, 0)); breach != nil {
					t.Fatalf("while it is missing: %+v", breach)
				}
			}
			m.shows["b"] = gone.Plus(Counts{Completed: 20, Errors: 20})
			if breach := m.second(nil); (breach != nil) != tt.want {
				t.Errorf("breach %+v, want one: %t", breach, tt.want)
			}
			if len(m.seen.gone) != 0 {
				t.Errorf("%d pods are remembered as gone", len(m.seen.gone))
			}
		})
	}
}

// One that comes back and can't be read is given as long as a new one.
func TestPodThatComesBackUnread(t *testing.T) {
	m := try(errorsAbove(2), "a", "b")
	gone := m.shows["b"]
	delete(m.shows, "b")
	for range 2 * int(UnreadFor/time.Second) {
		m.second(nil)
	}
	m.shows["b"] = gone
	if breach := m.second(nil, "b"); breach != nil {
		t.Errorf("breach %+v at once", breach)
	}
}

// Of pods that come and go only so many are remembered, and those for a minute.
func TestPodsGoneAreBounded(t *testing.T) {
	m := try(errorsAbove(2), "a")
	for i := range 3 * mostGone {
		m.shows[fmt.Sprintf("pod%d", i)] = Counts{}
	}
	m.second(nil)
	m.shows = map[string]Counts{"a": m.shows["a"]}
	m.second(nil)
	if got := len(m.seen.gone); got != mostGone {
		t.Errorf("%d pods are remembered, want %d", got, mostGone)
	}
	for range int(long / time.Second) {
		m.second(nil)
	}
	if got := len(m.seen.gone); got != 0 {
		t.Errorf("%d pods are remembered a minute later, want none", got)
	}
}

// What passed a bound longer ago than the window counts no more: here, while there were no
// bounds that anybody asked about.
func TestWindowsSlide(t *testing.T) {
	m := try(errorsAbove(100), "a")
	m.second(requests(50, 50, 0))
	for range int(long/time.Second) - 1 {
		m.second(requests(0, 0, 0))
	}
	m.bounds.ErrorPercent = ptr.Int32(2)
	if m.seen.Breach(m.bounds, m.now) == nil {
		t.Error("a minute ago counts for nothing")
	}
	if breach := m.second(nil); breach != nil {
		t.Errorf("more than a minute ago counts: %+v", breach)
	}
	if most := int(long / time.Second); len(m.seen.rounds) > most {
		t.Errorf("%d rounds are kept, want at most %d", len(m.seen.rounds), most)
	}
}

func TestUnwatched(t *testing.T) {
	const seconds = int(UnreadFor / time.Second)
	for name, tt := range map[string]struct {
		// unread in each second, of pods a and b.
		unread func(second int) []string
		want   int
	}{
		"one of two isn't read":      {func(int) []string { return []string{"b"} }, seconds},
		"both in turn":               {func(s int) []string { return [][]string{{"a"}, {"b"}}[s%2] }, 0},
		"it is again, just in time":  {func(s int) []string { return map[bool][]string{true: {"b"}}[s%seconds != 0] }, 0},
		"all are read all the while": {func(int) []string { return nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, ended := try(errorsAbove(1), "a", "b"), 0
			for second := 1; second <= 60 && ended == 0; second++ {
				if breach := m.second(requests(10, 0, 0), tt.unread(second)...); breach != nil {
					ended = second
					if breach.Reason != v1alpha1.BreachUnwatched || !strings.Contains(breach.Message, "pod b") || !strings.Contains(breach.Message, "refused") {
						t.Errorf("breach %+v, want Unwatched, and why", breach)
					}
				}
			}
			if ended != tt.want {
				t.Errorf("ended after %d s, want %d", ended, tt.want)
			}
		})
	}
}

// A pod that is never read counts from when it was there; none at all, from when there was one
// last. One that is gone is nobody's loss.
func TestUnwatchedFromWhenPodsCameAndWent(t *testing.T) {
	m := try(errorsAbove(1), "a")
	for second := 1; ; second++ {
		breach := m.second(nil, "new")
		if got, want := breach != nil, second > int(UnreadFor/time.Second); got != want {
			t.Fatalf("%d s after a pod came that can't be read: %+v", second-1, breach)
		}
		if breach != nil {
			break
		}
	}
	if breach := m.second(nil); breach != nil {
		t.Errorf("a pod that is gone: %+v", breach)
	}
	clear(m.shows)
	for second := 1; second <= int(UnreadFor/time.Second); second++ {
		breach := m.second(nil)
		if got, want := breach != nil, second >= int(UnreadFor/time.Second); got != want {
			t.Fatalf("%d s without a pod: %+v", second, breach)
		}
	}
}

// What an unread pod counted meanwhile counts once it is read.
func TestCountsOfAnUnreadPodCome(t *testing.T) {
	m := try(errorsAbove(2), "a")
	for range 5 {
		if breach := m.second(requests(10, 10, 0), "a"); breach != nil {
			t.Fatalf("unread: %+v", breach)
		}
	}
	if breach := m.second(nil); breach == nil || !strings.HasPrefix(breach.Message, "50 of the 50") {
		t.Errorf("breach %+v, want that of all 50", breach)
	}
}

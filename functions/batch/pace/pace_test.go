package pace

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// server is a Model in simulated time: so many requests at once, first come first served.
type server struct {
	// free is when each of its places is.
	free []time.Duration
	// open is how many of them it has at a time, nil for all.
	open func(at time.Duration) int
	// takes is how long it works on a request that begins at a time.
	takes func(at time.Duration) time.Duration
}

// serve is when a request that comes at a time is answered.
func (s *server) serve(at time.Duration) time.Duration {
	first, open := 0, s.free
	if s.open != nil {
		open = s.free[:s.open(at)]
	}
	for i, free := range open {
		if free < s.free[first] {
			first = i
		}
	}
	begins := max(at, s.free[first])
	s.free[first] = begins + s.takes(begins)
	return s.free[first]
}

// flight is a request under way.
type flight struct {
	sent, done time.Duration
	inFlight   int
}

type flights []flight

func (f flights) Len() int           { return len(f) }
func (f flights) Less(i, j int) bool { return f[i].done < f[j].done }
func (f flights) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)        { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// seen is what came of some seconds.
type seen struct {
	answers int
	// mean is how long answers took, limit the bound in the end.
	mean  time.Duration
	limit int
}

// work has a worker with a backlog ask a server for as long as its bound lets it, and
// returns what was seen in each minute.
func work(b Bound, s *server, minutes int) []seen {
	var under flights
	out, now := make([]seen, minutes), time.Duration(0)
	for {
		for under.Len() < b.Limit() {
			heap.Push(&under, flight{sent: now, done: s.serve(now), inFlight: under.Len() + 1})
		}
		next := heap.Pop(&under).(flight)
		now = next.done
		minute := int(now / time.Minute)
		if minute >= minutes {
			break
		}
		b = b.Next(Answer{Took: now - next.sent, InFlight: next.inFlight})
		out[minute].answers++
		out[minute].mean += now - next.sent
		out[minute].limit = b.Limit()
	}
	for i := range out {
		out[i].mean /= time.Duration(max(1, out[i].answers))
	}
	return out
}

func always(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

// A worker alone fills a server, however many requests that works on and however long
// they take, and has few wait there.
func TestFillsAServer(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, tt := range map[string]struct {
		places int
		takes  func(time.Duration) time.Duration
		mean   time.Duration
	}{
		"one place": {1, always(50 * time.Millisecond), 50 * time.Millisecond},
		"eight":     {8, always(50 * time.Millisecond), 50 * time.Millisecond},
		"a hundred": {100, always(200 * time.Millisecond), 200 * time.Millisecond},
		"slow":      {4, always(2 * time.Second), 2 * time.Second},
		"of differing times": {16, func(time.Duration) time.Duration {
			return time.Duration(random.ExpFloat64() * float64(100*time.Millisecond))
		}, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			minutes := work(New(2, 1000), &server{free: make([]time.Duration, tt.places), takes: tt.takes}, 12)
			answers, most := 0, float64(tt.places)*float64(8*time.Minute)/float64(tt.mean)
			for i, got := range minutes[4:] {
				answers += got.answers
				if got.mean > 3*tt.mean {
					t.Errorf("minute %d: an answer takes %v with %d under way, want at most three times %v", i+4, got.mean, got.limit, tt.mean)
				}
			}
			if float64(answers) < .9*most {
				t.Errorf("%d answers in eight minutes, want nine tenths of %.0f", answers, most)
			}
			t.Logf("%+v", minutes)
		})
	}
}

// With fewer places fewer requests are under way; where each takes longer, as many; and
// the server is filled all along, with a short queue.
func TestFollowsAServer(t *testing.T) {
	const places, takes = 20, 100 * time.Millisecond
	for name, tt := range map[string]struct {
		slower time.Duration // how many times as long a request takes in minutes 5 to 10
		open   int           // how many places there are meanwhile
	}{
		"fewer places": {1, places / 4}, "slower": {4, places},
	} {
		t.Run(name, func(t *testing.T) {
			changed := func(at time.Duration) bool { return at > 5*time.Minute && at < 10*time.Minute }
			got := work(New(2, 1000), &server{
				free: make([]time.Duration, places),
				open: func(at time.Duration) int {
					if changed(at) {
						return tt.open
					}
					return places
				},
				takes: func(at time.Duration) time.Duration {
					if changed(at) {
						return takes * tt.slower
					}
					return takes
				},
			}, 16)
			t.Logf("%+v", got)
			for minute, of := range got {
				open, each := places, takes
				if minute >= 5 && minute < 10 {
					open, each = tt.open, takes*tt.slower
				}
				if minute%5 < 2 {
					continue // it takes as long to find out
				}
				if full := open * int(time.Minute/each); of.answers < 9*full/10 {
					t.Errorf("minute %d: %d answers, want nine tenths of %d", minute, of.answers, full)
				}
				if of.limit > 3*open || of.mean > 3*each {
					t.Errorf("minute %d: %d under way, for %v each, want at most three times %d and %v", minute, of.limit, of.mean, open, each)
				}
			}
		})
	}
}

func TestRound(t *testing.T) {
	answer := func(b Bound, n int, a Answer) Bound {
		for range n {
			b = b.Next(a)
		}
		return b
	}
	fast, slow := Answer{Took: time.Second, InFlight: 8}, Answer{Took: 4 * time.Second, InFlight: 8}
	b := answer(New(8, 100), leastRound-1, fast)
	if b.Limit() != 8 {
		t.Errorf("%d within a round, want 8", b.Limit())
	}
	if b = answer(b, 1, fast); b.Limit() != 16 {
		t.Errorf("%d after the first round, want twice as many", b.Limit())
	}
	if idle := answer(b, 16, Answer{Took: time.Second, InFlight: 4}); idle.Limit() != 16 {
		t.Errorf("%d where few are under way, want as many as before", idle.Limit())
	}
	if b = answer(b, 16, slow); b.Limit() != 8 {
		t.Errorf("%d after a slow round, want half", b.Limit())
	}
	if b = answer(b, 16, fast); b.Limit() != 10 {
		t.Errorf("%d after a fast one, want more by the root", b.Limit())
	}
	over := fast
	over.Overloaded = true
	if b = answer(answer(b, 15, fast), 1, over); b.Limit() != 5 {
		t.Errorf("%d after an answer that tells of overload, want half", b.Limit())
	}
}

// Whatever comes, one request may be under way and never more than the most.
func TestBoundIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(-1, 200).Draw(t, "most")
		b := New(rapid.IntRange(-1, 300).Draw(t, "first"), most)
		for range rapid.IntRange(0, 40).Draw(t, "rounds") {
			a := Answer{
				Took:     time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "took")),
				InFlight: rapid.IntRange(0, 300).Draw(t, "in flight"), Overloaded: rapid.Bool().Draw(t, "overloaded"),
			}
			for range rapid.IntRange(1, 100).Draw(t, "answers") {
				b = b.Next(a)
				if b.Limit() < 1 || b.Limit() > max(1, most) {
					t.Fatalf("%d may be under way, want 1 to %d", b.Limit(), most)
				}
			}
		}
	})
}

package bounds

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// short is the window by which what is far past a bound shows, and long the one by which
	// what is a little past it does, for which more requests have to be seen.
	short, long = 10 * time.Second, time.Minute
	// UnreadFor is how long a pod may not be read until its requests count as unwatched.
	UnreadFor = 10 * time.Second
	// mostGone bounds the pods that are remembered though they aren't listed.
	mostGone = 64
)

// Reading is what came of asking a gateway pod: what it has counted, or why that isn't known.
type Reading struct {
	Counts Counts
	Err    error
}

// Watch is what is known of a Model's requests since its bounds are there. Its zero value
// knows nothing; whoever takes over begins with it.
type Watch struct {
	// pods by name, as they were listed last.
	pods map[string]pod
	// gone are those that were listed before and read within long, the mostGone read last of
	// them. A pod may be missing from one list, as one is that isn't ready for a moment.
	gone map[string]pod
	// staffed is when there was a pod last.
	staffed time.Time
	// rounds are what was counted between two looks, the newest last, none longer ago than
	// long.
	rounds []round
}

// pod is what is known of a gateway pod.
type pod struct {
	// counts are those read last, if it was read.
	counts Counts
	known  bool
	// at is when it was read last, or first listed.
	at time.Time
	// err is why it can't be read now, nil where it can.
	err error
}

// round is what all pods counted from the look before to the one at a time.
type round struct {
	at   time.Time
	came Counts
}

// Next takes in what came of asking all pods that serve the Model, by name, which is to be done
// about each second. What a pod had counted when it was first read, be it new, doesn't count;
// what it counted while it wasn't listed does, if that was for less than a minute.
func (w Watch) Next(now time.Time, pods map[string]Reading) Watch {
	next := Watch{pods: make(map[string]pod, len(pods)), gone: w.left(now, pods), staffed: w.staffed}
	if len(pods) > 0 || w.staffed.IsZero() {
		next.staffed = now
	}
	var came Counts
	for name, reading := range pods {
		p, listed := w.pods[name]
		if !listed {
			p = w.gone[name]
			p.known = p.known && now.Sub(p.at) < long
			p.at = now
		}
		if p.err = reading.Err; p.err == nil {
			if p.known {
				came = came.Plus(reading.Counts.since(p.counts))
			}
			p.counts, p.known, p.at = reading.Counts, true, now
		}
		next.pods[name] = p
	}
	next.rounds = append(slices.DeleteFunc(slices.Clone(w.rounds), func(r round) bool { return !r.within(long, now) }), round{at: now, came: came})
	return next
}

// left are the pods to remember that aren't among those listed now.
func (w Watch) left(now time.Time, listed map[string]Reading) map[string]pod {
	left := map[string]pod{}
	for _, before := range []map[string]pod{w.gone, w.pods} {
		for name, p := range before {
			if _, ok := listed[name]; !ok && p.known && now.Sub(p.at) < long {
				left[name] = p
			}
		}
	}
	byAge := slices.SortedFunc(maps.Keys(left), func(a, b string) int {
		return cmp.Or(left[b].at.Compare(left[a].at), cmp.Compare(a, b))
	})
	for _, name := range byAge[min(len(byAge), mostGone):] {
		delete(left, name)
	}
	return left
}

func (r round) within(window time.Duration, now time.Time) bool { return now.Sub(r.at) < window }

// over is what was counted within a window that ends now.
func (w Watch) over(window time.Duration, now time.Time) Counts {
	var sum Counts
	for _, r := range w.rounds {
		if r.within(window, now) {
			sum = sum.Plus(r.came)
		}
	}
	return sum
}

// unread is the pod that hasn't been read for UnreadFor, the one that was read longest ago,
// if there is one. Without any pod for as long, it has no name.
func (w Watch) unread(now time.Time) (name string, p pod, found bool) {
	if len(w.pods) == 0 {
		return "", pod{}, !w.staffed.IsZero() && now.Sub(w.staffed) >= UnreadFor
	}
	for _, candidate := range slices.Sorted(maps.Keys(w.pods)) {
		of := w.pods[candidate]
		if of.err != nil && now.Sub(of.at) >= UnreadFor && (!found || of.at.Before(p.at)) {
			name, p, found = candidate, of, true
		}
	}
	return name, p, found
}

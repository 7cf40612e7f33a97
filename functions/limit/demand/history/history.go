package history

import (
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/functions/whatif/trace"
)

const (
	// Keeps is how far back it goes.
	Keeps = 24 * time.Hour
	// DefaultRoom is for how many virtual services there is room where they have demand.
	DefaultRoom = 256
	// seconds of each are kept.
	seconds = int64(Keeps / time.Second)
	// patience is the longest time between two tellings: what came in a longer one isn't known
	// by second.
	patience = 3 * time.Second
)

// History is a ring of seconds for each virtual service. It may be asked and told at once.
type History struct {
	room int
	// owner is whose a virtual service is: those that have most make room for others.
	owner func(name string) string

	mu sync.Mutex
	// until is the first second, since 1970, that isn't over by what was told; told is when
	// that was. Both are zero before the first time.
	until int64
	told  time.Time
	// open is what came so far in that second, and whole what tells, for each telling with a
	// part in it, of which all of that is known.
	open  map[string]float64
	whole []func(name string) bool
	rings map[string]*ring
	// owned is how many of them each owner has.
	owned map[string]int
	// ready is how many replicas each had that were ready, as of scaled; zero for never.
	ready  map[string]int32
	scaled time.Time
}

// ring is what is known of one.
type ring struct {
	owner string
	// from is the first second that was kept, and last that in which a request came last.
	from, last int64
	kept       [seconds]short
	ready      stairs
}

// New is a History with room for so many virtual services, at least one, which owners share.
func New(room int, owner func(name string) string) *History {
	return &History{room: max(1, room), owner: owner, open: map[string]float64{}, rings: map[string]*ring{}, owned: map[string]int{}}
}

// nothing is known of the time between two tellings that are too far apart.
func nothing(string) bool { return false }

// Tell takes in what came to each since the last time, until now; whole is false of those of
// which not all of it is known. It is spread over that time evenly.
func (h *History) Tell(now time.Time, came map[string]float64, whole func(name string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.told
	h.told = now
	if from.IsZero() || now.Sub(from) > patience || now.Before(from) {
		h.skip(now)
		return
	}
	for h.until < now.Unix() {
		h.add(came, share(time.Unix(h.until, 0), time.Unix(h.until+1, 0), from, now))
		h.whole = append(h.whole, whole)
		h.close()
	}
	h.add(came, share(time.Unix(h.until, 0), now, from, now))
	if now.After(time.Unix(h.until, 0)) {
		h.whole = append(h.whole, whole)
	}
}

// share is the part of a time that is between two moments, of which the second isn't after it.
func share(from, to, begin, end time.Time) float64 {
	if from.Before(begin) {
		from = begin
	}
	whole := end.Sub(begin)
	if whole <= 0 {
		return 1
	}
	return max(0, float64(to.Sub(from))/float64(whole))
}

func (h *History) add(came map[string]float64, part float64) {
	for name, n := range came {
		if n > 0 && part > 0 {
			h.open[name] += n * part
		}
	}
}

// skip goes on at a time until which nothing was seen.
func (h *History) skip(now time.Time) {
	to := now.Unix()
	if h.until > 0 && to >= h.until && to-h.until < seconds {
		for h.until < to {
			h.whole = append(h.whole, nothing)
			h.close()
		}
	} else {
		clear(h.rings) // nothing of it is of the last day
		clear(h.owned)
	}
	h.until, h.whole = to, nil
	if now.After(time.Unix(to, 0)) {
		h.whole = append(h.whole, nothing)
	}
	clear(h.open)
}

// close has a second be over.
func (h *History) close() {
	var others []string
	for name := range h.open {
		switch r := h.rings[name]; {
		case !h.knows(name):
		case r != nil:
			r.last = h.until
		default:
			others = append(others, name)
		}
	}
	slices.Sort(others)
	for _, name := range others {
		h.make(name)
	}
	for name, r := range h.rings {
		if r.last <= h.until-seconds {
			h.drop(name) // no request in all of the time
			continue
		}
		if r.kept[h.until%seconds] = shorten(h.open[name]); !h.knows(name) {
			r.kept[h.until%seconds] = missing
		}
		r.ready.note(h.until, h.readyOf(name))
	}
	clear(h.open)
	h.until, h.whole = h.until+1, h.whole[:0]
}

// knows is true if all is known of what came to one in the second that isn't over.
func (h *History) knows(name string) bool {
	return !slices.ContainsFunc(h.whole, func(whole func(string) bool) bool { return !whole(name) })
}

// make has room for another one: where there is none, another one goes if one may.
func (h *History) make(name string) {
	owner := h.owner(name)
	if len(h.rings) >= h.room {
		goes, ok := h.leaves(owner)
		if !ok {
			return
		}
		h.drop(goes)
	}
	r := &ring{owner: owner, from: h.until, last: h.until}
	for i := range r.kept {
		r.kept[i] = missing
	}
	h.rings[name] = r
	h.owned[owner]++
}

// drop forgets one.
func (h *History) drop(name string) {
	owner := h.rings[name].owner
	delete(h.rings, name)
	if h.owned[owner]--; h.owned[owner] == 0 {
		delete(h.owned, owner)
	}
}

// leaves is which one goes for a new one of an owner; false if those that have a history keep
// it. It is one of the owner that would have most then, the one of those that was asked for
// the longest time ago. One that has demand goes only for an owner that has fewer.
func (h *History) leaves(owner string) (name string, ok bool) {
	own := h.owned[owner] + 1
	most := own
	for _, n := range h.owned {
		most = max(most, n)
	}
	makesRoom := own == most && own > 1 // it has as many as anybody
	for of, r := range h.rings {
		if makesRoom != (r.owner == owner) || !makesRoom && h.owned[r.owner] < most {
			continue
		}
		if name == "" || r.last < h.rings[name].last || r.last == h.rings[name].last && of < name {
			name = of
		}
	}
	return name, own < most || h.rings[name].last < h.until
}

// Of is the demand of a virtual service, from the first second that is known, and that didn't
// begin before since, up to the last one, and how many of its replicas were ready as each was
// over; false if there is none.
func (h *History) Of(name string, since time.Time) (trace.Trace, bool) {
	kept, ready, from := h.copy(name, since)
	if len(kept) == 0 {
		return trace.Trace{}, false
	}
	out := trace.Trace{Start: time.Unix(from, 0).UTC(), Seconds: make([]float32, len(kept))}
	for i, k := range kept {
		if out.Seconds[i] = k.requests(); k == missing {
			out.Seconds[i] = trace.Missing
		}
	}
	out.Ready = ready.between(from, from+int64(len(kept)))
	return out, true
}

// copy is what is kept, as it is kept: whoever tells isn't held up by more than that.
func (h *History) copy(name string, since time.Time) (kept []short, ready stairs, from int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rings[name]
	if r == nil {
		return nil, nil, 0
	}
	from = max(r.from, h.until-seconds)
	if !since.IsZero() {
		first := since.Unix()
		if since.After(time.Unix(first, 0)) {
			first++
		}
		from = max(from, first)
	}
	if from >= h.until {
		return nil, nil, 0
	}
	ready = slices.Clone(r.ready)
	begin, end := from%seconds, (h.until-1)%seconds+1
	if begin < end {
		return slices.Clone(r.kept[begin:end]), ready, from
	}
	return slices.Concat(r.kept[begin:], r.kept[:end]), ready, from
}

package history

import (
	"slices"
	"time"

	"sluice.dev/sluice/functions/whatif/trace"
)

const (
	// stands is how long a count of replicas stands after it was told: who tells looks each 5 s
	// at least.
	stands = 10 * time.Second
	// mostSteps bounds the changes that are kept: of one that changes more often, what was
	// before isn't known.
	mostSteps = 4096
	// unknown is a count that isn't known.
	unknown = -1
)

// Scale takes in how many replicas each virtual service has that are ready, from now on until
// the next time; of one that isn't there nothing is known.
func (h *History) Scale(now time.Time, ready map[string]int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.scaled = ready, now
}

// readyOf is how many replicas of one are ready as a second ends.
func (h *History) readyOf(name string) int32 {
	n, ok := h.ready[name]
	if age := time.Unix(h.until+1, 0).Sub(h.scaled); !ok || age > stands {
		return unknown
	}
	return n
}

// stairs are counts of replicas, by their changes: most Models change a few times an hour.
type stairs []stair

// stair is how many were ready from a second on.
type stair struct {
	from  int64
	ready int32
}

// note has so many be ready in a second, the next one.
func (s *stairs) note(second int64, ready int32) {
	if n := len(*s); n > 0 && (*s)[n-1].ready == ready {
		return
	}
	gone := 0
	for gone+1 < len(*s) && (*s)[gone+1].from <= second-seconds {
		gone++ // another one holds since before all that is kept
	}
	if len(*s)-gone >= mostSteps {
		gone++
	}
	*s = append(slices.Delete(*s, 0, gone), stair{from: second, ready: ready})
}

// between are the counts of each second of some; nil where none is known.
func (s stairs) between(from, to int64) []float32 {
	out := slices.Repeat([]float32{trace.Missing}, int(to-from))
	known := false
	for i, step := range s {
		end := to
		if i+1 < len(s) {
			end = min(end, s[i+1].from)
		}
		for second := max(from, step.from); second < end && step.ready != unknown; second++ {
			out[second-from], known = float32(step.ready), true
		}
	}
	if !known {
		return nil
	}
	return out
}

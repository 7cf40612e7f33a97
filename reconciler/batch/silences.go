package batch

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// silenceKept is how long a silence is known of a run that is looked at no more: it is over,
// or gone.
const silenceKept = time.Minute

// silences knows since when something isn't so of runs, of those that are at work.
type silences struct {
	mu sync.Mutex
	of map[types.UID]silence
}

// silence of a run.
type silence struct{ since, seen time.Time }

func newSilences() *silences { return &silences{of: map[types.UID]silence{}} }

// lasts is for how long a run's silence has lasted, which begins now where there was none.
func (s *silences) lasts(uid types.UID, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known, silence := range s.of {
		if now.Sub(silence.seen) >= silenceKept {
			delete(s.of, known)
		}
	}
	of, known := s.of[uid]
	if !known {
		of.since = now
	}
	of.seen = now
	s.of[uid] = of
	return now.Sub(of.since)
}

// end is of a run of which it is so again, or that is held.
func (s *silences) end(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, uid)
}

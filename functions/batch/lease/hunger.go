package lease

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// patience is for how long a run that asks in vain holds replicas, and after that for how long
// it holds none. Something else may wake its Model meanwhile, and it has credits again. If
// nothing does, it tries for as long as before: of a Model at zero nobody knows whether its
// replicas would start now, and a shorter time may be less than one takes.
const patience = time.Hour

// hunger is for how long runs have asked and not had any credit, by UID. Time in which nobody
// asks, or the limiter can't be asked, doesn't count.
type hunger map[types.UID]time.Duration

// of is how long a run's lasts. What isn't known here begins by what was said of it: since when
// it is known to starve, zero if it isn't.
func (h hunger) of(uid types.UID, starves, now time.Time) time.Duration {
	lasts, known := h[uid]
	if !known && !starves.IsZero() {
		lasts = patience + max(0, now.Sub(starves))
	}
	h[uid] = lasts
	return lasts
}

// grow has a run's last so much longer.
func (h hunger) grow(uid types.UID, by time.Duration) { h[uid] += by }

// end is that of a run that has got credits.
func (h hunger) end(uid types.UID) { h[uid] = 0 }

// starving is true once a run is to be told of.
func starving(hungry time.Duration) bool { return hungry >= patience }

// mayHold tells whether a run may hold replicas: for a while it does, for a while it doesn't.
func mayHold(hungry time.Duration) bool { return hungry/patience%2 == 0 }

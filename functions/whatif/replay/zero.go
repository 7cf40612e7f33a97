package replay

import "time"

// phase is how far a revision is on its way to none and back: Knative's condition Active.
type phase int

const (
	inactive phase = iota
	activating
	active
)

// activationBuffer is what Knative adds to the progress deadline before it gives up a
// revision that doesn't start (serving pkg/reconciler/autoscaling/kpa, activationTimeoutBuffer).
const activationBuffer = 30 * time.Second

// zeroing is how a revision comes to have no replica.
type zeroing struct {
	// enabled is the cluster's enable-scale-to-zero.
	enabled bool
	// window has to pass since the revision became active, retention since it became
	// inactive, grace since the activator came into the path.
	window, retention, grace time.Duration
	// deadline is how long a revision may take to become active.
	deadline time.Duration
}

// way is where a revision is on it.
type way struct {
	phase phase
	// since is when the phase began, proxied when the activator came into the path: Never
	// while it isn't.
	since, proxied time.Duration
}

// next is what becomes of a decision for no replica (serving
// pkg/reconciler/autoscaling/kpa, handleScaleToZero): how many are wanted, and whether
// those go that are more. Known is false where nothing is said for now.
func (z zeroing) next(w way, now time.Duration) (want int32, apply, known bool) {
	if !z.enabled {
		return 1, true, true
	}
	since := now - w.since
	switch w.phase {
	case activating:
		return 0, true, since >= z.deadline+activationBuffer
	case active:
		if since < z.window {
			return 1, true, true
		}
		return 0, false, true
	default:
		proxied := w.proxied != Never && now-w.proxied >= z.grace
		return 0, since >= max(z.grace, z.retention) || since >= z.retention && proxied, true
	}
}

// moved is the way once so many replicas are wanted and ready, of at least as many as make
// a revision active (serving pkg/reconciler/autoscaling/kpa, computeActiveCondition).
func (w way) moved(want, ready, least int32, now time.Duration) way {
	var to phase
	switch {
	case want == 0:
		to = inactive
	case ready < least:
		to = activating
	default:
		to = active
	}
	if to != w.phase {
		w.phase, w.since = to, now
	}
	return w
}

// through is the way with the activator in the path or not.
func (w way) through(activator bool, now time.Duration) way {
	switch {
	case !activator:
		w.proxied = Never
	case w.proxied == Never:
		w.proxied = now
	}
	return w
}

package replay

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
)

// Now is the time since the beginning.
func (w *World) Now() time.Duration { return w.now }

// State is what the limit goes by, Changed when it last changed.
func (w *World) State() capacity.Replicas { return w.state }

// Changed is when what the limit goes by last did.
func (w *World) Changed() time.Duration { return w.changed }

// View is what the rule goes by.
func (w *World) View() View { return w.view }

// Min is what the revision's min-scale is.
func (w *World) Min() int32 { return w.scaler.min() }

// Window is the autoscaler's, over which it averages.
func (w *World) Window() time.Duration { return w.scaler.window }

// Wants is how many replicas the autoscaler would want of a value of its metric, within its bounds.
func (w *World) Wants(value float64) int32 {
	return w.scaler.bounded(int32(math.Ceil(value/w.scaler.target - 1e-9)))
}

// ByRate is true if the autoscaler scales by requests per second.
func (w *World) ByRate() bool { return w.scaler.rps }

// Flow is all that has been.
func (w *World) Flow() Flow { return w.sum.plus(w.second) }

// Usage is what was spent.
func (w *World) Usage() Usage {
	u := w.usage
	u.Started = w.replicas.started
	return u
}

// Lost is how many requests were let in and found queues full, or waited too long.
func (w *World) Lost() float64 { return w.replicas.lost }

// Backlog is the time that the fullest replica, or the activator, needs for what waits there.
func (w *World) Backlog() time.Duration { return w.replicas.backlog(w.now) }

// Room is for how many replicas there are nodes from now on, 0 for any number.
func (w *World) Room(n int32) { w.replicas.room = n }

// Waiting tells the requests on which no work has begun, and when they came.
func (w *World) Waiting(tell func(came time.Duration, requests float64)) {
	each := func(l *line) {
		for _, b := range l.batches[l.head:] {
			tell(time.Duration(b.came)*Step, b.n)
		}
	}
	each(&w.replicas.held)
	for c := range w.replicas.all {
		each(&c.waiting)
	}
}

// Conserved is an error if requests were made up or got lost.
func (w *World) Conserved() error {
	in := w.Flow().Admitted + w.replicas.began
	if out := w.replicas.done + w.replicas.lost + w.replicas.inside(); math.Abs(in-out) > 1e-6*(1+in) {
		return fmt.Errorf("of %g requests, %g are accounted for", in, out)
	}
	return nil
}

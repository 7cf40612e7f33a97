package replay

import (
	"math"
	"testing"
	"time"
)

// eachPhase calls do for phases all over their second.
func eachPhase(do func(Phases)) {
	const apart = 250 * time.Millisecond
	for report := time.Duration(0); report < time.Second; report += apart {
		for scrape := time.Duration(0); scrape < time.Second; scrape += apart {
			for clock := time.Duration(0); clock < time.Second; clock += apart {
				do(Phases{Report: report, Scrape: scrape, Clock: clock})
			}
		}
	}
}

// phased is a World with phases and a window, which has settled with a load.
func phased(t *testing.T, p Phases, window string, load float64) *World {
	t.Helper()
	s := setupOf(map[string]string{"window": window, "target": "4"})
	s.Phases = p
	w := newWorld(t, s)
	w.Settle(load, 4)
	return w
}

// Whenever reports come, an even demand has the replicas that it takes, and what no replica is
// left of comes back to none.
func TestPhasesAtRest(t *testing.T) {
	eachPhase(func(p Phases) {
		w := phased(t, p, "15s", 100)
		w.pass(60, 100) // 10 in flight, of which 70 % of 4 are for a replica
		if all, ready := w.replicas.count(w.now); all != 4 || ready != 4 {
			t.Errorf("%+v: %d replicas, %d ready; want 4", p, all, ready)
		}
		if s := w.gone(60); s > 30 {
			t.Errorf("%+v: replicas are left after %d s", p, s)
		}
		if err := w.Conserved(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	})
}

// The load that a World settles with has been there for the whole of the first second that is
// reported: where it takes just so many replicas, none goes.
func TestPhasesAtFirst(t *testing.T) {
	eachPhase(func(p Phases) {
		w := phased(t, Phases{Report: p.Report, Clock: p.Clock}, "6s", 86) // 8.6 in flight take 3.07
		w.pass(6, 86)
		if all, _ := w.replicas.count(w.now); all < 4 {
			t.Errorf("%+v: %d replicas are left of 4", p, all)
		}
	})
}

// What a short window averages is one second, two, or half of one, by when its reports come: so of
// a demand that is much more for a second, some autoscalers have twice as many replicas as others.
func TestPhasesDecideOnPanic(t *testing.T) {
	most, least := int32(0), int32(math.MaxInt32)
	eachPhase(func(p Phases) {
		w := phased(t, p, "15s", 100)
		w.pass(20, 100)
		w.pass(1, 260)
		w.pass(5, 100)
		most, least = max(most, w.Usage().Peak), min(least, w.Usage().Peak)
	})
	if most < 2*least {
		t.Errorf("by phases, an autoscaler has %d to %d replicas at most", least, most)
	}
}

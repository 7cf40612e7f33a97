package simulation

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// settling is left out of what is admitted once all replicas are ready, and is the
	// time over which that is averaged.
	settling = 10 * time.Second
	// patience is until when all replicas should have been ready.
	patience = 3 * time.Minute
	watched  = 6 * time.Minute
)

// fullness is what comes of a demand above what maxReplicas can serve. Admitted parts
// are of just that.
type fullness struct {
	// at is when all replicas were ready first; never if they weren't.
	at time.Duration
	// until is the part admitted until then, or until patience ended.
	until float64
	// least and most are the parts in any settling since.
	least, most float64
	// queue is the time that what waits at the fullest replica takes, at the end.
	queue time.Duration
	// changes of the scale since.
	changes int
}

// overload runs a corner for some minutes.
func overload(c corner, r rule) (fullness, error) {
	s, err := newSimulation(c, r)
	if err != nil {
		return fullness{}, err
	}
	f := fullness{at: never, least: math.Inf(1)}
	limit := c.perReplica * float64(c.most)
	admitted := func() float64 { return s.Flow().Admitted / limit }
	from, before, state := patience, 0., s.State()
	for s.Now() < watched {
		s.step()
		if f.at == never && s.State().Ready == c.most {
			f.at, from = s.Now(), min(from, s.Now())
		}
		switch since := s.Now() - from; {
		case since <= 0:
			f.until = admitted() / s.Now().Seconds()
		case s.State() != state:
			f.changes++
		}
		state = s.State()
		if since := s.Now() - from; since%settling == 0 {
			if since > settling {
				part := (admitted() - before) / settling.Seconds()
				f.least, f.most = math.Min(f.least, part), math.Max(f.most, part)
			}
			before = admitted()
		}
	}
	f.queue = s.Backlog()
	return f, s.conserved()
}

// exact is true if all replicas are ready and what they can serve is admitted.
func (f fullness) exact() bool {
	return f.at != never && f.changes == 0 && math.Abs(f.least-1) <= .02 && math.Abs(f.most-1) <= .02
}

// and is the worst of two.
func (f fullness) and(g fullness) fullness {
	return fullness{
		at: max(f.at, g.at), until: min(f.until, g.until), least: min(f.least, g.least), most: max(f.most, g.most),
		queue: max(f.queue, g.queue), changes: max(f.changes, g.changes),
	}
}

func (f fullness) String() string {
	at := "never"
	if f.at != never {
		at = fmt.Sprintf("%.0fs", f.at.Seconds())
	}
	return fmt.Sprintf("%s\t%.0f%%\t%.0f–%.0f%%\t%d\t%.0fs", at, 100*f.until, 100*f.least, 100*f.most, f.changes, f.queue.Seconds())
}

// overloads are corners whose demand is above what maxReplicas can serve, by some or
// by far, and whose autoscaler would want all of them.
func overloads(settle float64, start time.Duration) []corner {
	var corners []corner
	for _, after := range []float64{11, 30} {
		for _, latency := range []time.Duration{100 * time.Millisecond, time.Second} {
			for _, window := range []time.Duration{10 * time.Second, time.Minute} {
				for _, kind := range []kind{elastic, breaker, saturated} {
					c := corner{
						perReplica: 50, settle: settle, after: after, start: start, kind: kind, most: 10, before: .3,
						utilization: 70, latency: latency, window: window, burst: 211, metric: v1alpha1.MetricConcurrency,
					}
					if c.same() == c.most {
						corners = append(corners, c)
					}
				}
			}
		}
	}
	return corners
}

// Once all of maxReplicas are ready, just what they can serve is admitted, as long as
// the autoscaler wants no more than that of a replica. The log compares rules: when
// all were ready, what was admitted until then and since, and what the fullest replica
// is left with.
func TestFullIsExact(t *testing.T) {
	rules := []func(q float64) rule{headroomOnly, literal, capped, always, demand}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "settles at\tpod start\trule\tfull\tuntil\tsince\tchanges\tqueue")
	for _, settle := range []float64{.7, 1, 1.4, 1.9} {
		for _, start := range []time.Duration{3 * time.Second, 30 * time.Second} {
			for _, of := range rules {
				corners, r := overloads(settle, start), of(50)
				all := make([]fullness, len(corners))
				each(t, len(corners), func(i int) (err error) {
					all[i], err = overload(corners[i], of(corners[i].perReplica))
					return err
				})
				worst := all[0]
				for i, f := range all {
					worst = worst.and(f)
					if (settle <= 1 || r.Floor != nil) && !f.exact() {
						t.Errorf("%v, %s: %+v", corners[i], r.name, f)
					}
				}
				fmt.Fprintf(w, "%g q\t%v\t%s\t%s\n", settle, start, r.name, worst)
			}
		}
	}
	_ = w.Flush()
	t.Log("at most 10 replicas, the worst of some corners\n" + text.String())
}

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
	// noticed is until when a limit may count replicas that there is no room for.
	noticed = 45 * time.Second
	// cleared is when there is room for all of them.
	cleared = 5 * time.Minute
	// returned is how long after that they should all be there, beside their start.
	returned = 30 * time.Second
	// roomFor is as many replicas as there is room for until then.
	roomFor = 3
)

// crowding is what comes of a demand for more replicas than there is room for.
// Admitted parts are of what those serve that there is room for.
type crowding struct {
	// least and most are the parts admitted in any settling, from when it is noticed on.
	least, most float64
	// asked is the most replicas that were asked for meanwhile, beyond those.
	asked int32
	// queue is the time that what waits at the fullest replica takes, when there is room.
	queue time.Duration
	// back is when enough replicas were there once there was room.
	back time.Duration
}

func crowd(c corner, r rule) (crowding, error) {
	s, err := newSimulation(c, r)
	if err != nil {
		return crowding{}, err
	}
	s.Room(roomFor)
	out, before := crowding{least: math.Inf(1), back: never}, 0.
	from := noticed + c.start
	admitted := func() float64 { return s.Flow().Admitted }
	for s.Now() < cleared {
		s.step()
		if s.Now() < from {
			before = admitted()
			continue
		}
		out.asked = max(out.asked, s.Min()-roomFor)
		if (s.Now()-from)%settling == 0 && s.Now() > from {
			part := (admitted() - before) / (c.perReplica * roomFor * settling.Seconds())
			out.least, out.most, before = math.Min(out.least, part), math.Max(out.most, part), admitted()
		}
	}
	out.queue = s.Backlog()
	for s.Room(0); out.back == never && s.Now() < cleared+10*time.Minute; {
		s.step()
		if s.State().Ready >= c.enough() {
			out.back = s.Now() - cleared
		}
	}
	return out, s.conserved()
}

// and is the worst of two.
func (c crowding) and(d crowding) crowding {
	return crowding{
		least: min(c.least, d.least), most: max(c.most, d.most), asked: max(c.asked, d.asked),
		queue: max(c.queue, d.queue), back: max(c.back, d.back),
	}
}

// crowds are corners with a demand of three times what there is room for, and more.
func crowds(settle float64, start time.Duration) []corner {
	var corners []corner
	for _, after := range []float64{9, 30} {
		for _, latency := range []time.Duration{100 * time.Millisecond, time.Second} {
			for _, window := range []time.Duration{10 * time.Second, time.Minute} {
				for _, kind := range []kind{elastic, breaker, saturated} {
					corners = append(corners, corner{
						perReplica: 50, settle: settle, after: after, start: start, kind: kind, most: 80, before: .3,
						utilization: 70, latency: latency, window: window, burst: 211, metric: v1alpha1.MetricConcurrency,
					})
				}
			}
		}
	}
	return corners
}

// Where there is no room for the replicas that a demand calls for, what serves is
// admitted soon, whatever the autoscaler wants; once there is room, they come. The log
// compares with what it was when all that is desired counted for ever.
func TestFullNodes(t *testing.T) {
	hopeful := func(q float64) rule {
		r := demand(q)
		r.name, r.Hopeful = "Demand, hopeful", true
		return r
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "settles at\tpod start\trule\tadmitted\tasked beyond\tqueue\tback after")
	for _, settle := range []float64{.7, 1.4, 3} {
		for _, start := range []time.Duration{3 * time.Second, 30 * time.Second} {
			for _, of := range []func(float64) rule{hopeful, demand} {
				corners, r := crowds(settle, start), of(50)
				all := make([]crowding, len(corners))
				each(t, len(corners), func(i int) (err error) {
					all[i], err = crowd(corners[i], of(corners[i].perReplica))
					return err
				})
				worst := all[0]
				for i, c := range all {
					worst = worst.and(c)
					switch {
					case r.Hopeful && c.most < 1.5:
						t.Errorf("%v: what never comes isn't counted: %+v", corners[i], c)
					case !r.Hopeful && (c.least < .95 || c.most > 1.05 || c.asked > 2):
						t.Errorf("%v, %s: %+v", corners[i], r.name, c)
					case !r.Hopeful && c.back > returned+2*start:
						t.Errorf("%v, %s: replicas don't come when there is room: %+v", corners[i], r.name, c)
					}
				}
				fmt.Fprintf(w, "%g q\t%v\t%s\t%.0f–%.0f%%\t%d\t%.0fs\t%.0fs\n", settle, start, r.name,
					100*worst.least, 100*worst.most, worst.asked, worst.queue.Seconds(), worst.back.Seconds())
			}
		}
	}
	_ = w.Flush()
	t.Logf("room for %d replicas, the worst of some corners\n%s", roomFor, text.String())
}

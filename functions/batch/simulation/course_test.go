package simulation

import (
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/lease"
	"sluice.dev/sluice/functions/batch/progress"
	"sluice.dev/sluice/functions/limit/slack"
)

const (
	// stride is a step of a course.
	stride = 100 * time.Millisecond
	// begins is how long a run takes until its workers ask, ends from its last answer until
	// it is known to be over.
	begins, ends = 6 * time.Second, 2 * time.Second
	// told is from a floor to its being the autoscaler's, ticks how often that looks, and
	// proved from a replica's being ready to its limit's being enforced.
	told, ticks, proved = 1500 * time.Millisecond, 2 * time.Second, 700 * time.Millisecond
)

// contender is a run with a deadline, or without one.
type contender struct {
	requests    int64
	deadline    time.Duration
	maxReplicas int32
	workers     int
	// suspended is from when on it is, 0 for never.
	suspended time.Duration
}

// course is a Model with some runs.
type course struct {
	runs []contender
	// perReplica is what a replica serves, demand the online demand, in requests per second.
	perReplica float64
	demand     func(at time.Duration) float64
	// there are the replicas at the beginning, most those that there may be.
	there, most int32
	start       time.Duration
	// hitch is how likely a worker is to stand still for a second.
	hitch  float64
	seed   uint64
	length time.Duration
}

// result is what came of it.
type result struct {
	// over is when each run was, 0 for never.
	over []time.Duration
	// seconds are those of all replicas until all runs are over, peak is the most there were,
	// changes is how often another number was called for.
	seconds float64
	peak    int32
	changes int
	// called are the replicas called for at the end.
	called int32
}

type racer struct {
	contender
	uid     types.UID
	done    int64
	workers []*racing
}

type racing struct {
	credits.Bucket
	name     string
	answered int64
	stands   time.Duration
}

// race runs a course. It goes by the real rule, ledger, book and buckets.
func race(c course) result {
	random := seeded(c.seed)
	at := time.Duration(0)
	now := func() time.Time { return began.Add(at) }
	ledger, book := credits.NewLedger(began.Add(-time.Minute)), progress.New()
	out := result{over: make([]time.Duration, len(c.runs))}
	racers := make([]*racer, len(c.runs))
	for i, of := range c.runs {
		r := &racer{contender: of, uid: types.UID(fmt.Sprint("run-", i))}
		for w := range of.workers {
			r.workers = append(r.workers, &racing{name: fmt.Sprint(r.uid, "-", w)})
		}
		racers[i] = r
	}
	works := func(r *racer) bool {
		return at >= begins && r.done < r.requests && (r.suspended == 0 || at < r.suspended) && (r.deadline == 0 || at < r.deadline)
	}
	var events []event
	after := func(d time.Duration, do func()) { events = append(events, event{at + d, do}) }

	ready := make([]time.Duration, c.there) // when each replica is; those at the end come last
	serving, floor := c.there, int32(0)
	var called slack.Called
	var ceiling slack.Ceiling
	var left slack.Slack
	var asked slack.Question
	askedAt := at
	pass := func() {
		demand := c.demand(at)
		serves, limit := float64(serving)*c.perReplica, 2*float64(serving)*c.perReplica
		s := slack.Usual.Of(slack.Model{Limit: limit, Serves: serves, Demand: slack.Demand{At: now(), Mean: demand, Last: demand}})
		ceiling = ceiling.Next(max(limit, 1), s.Rate, now())
		left = ceiling.Under(s, limit)
		var needs []slack.Need
		for _, n := range asked.Needs[model] {
			if n, ok := n.After(at - askedAt); ok {
				needs = append(needs, n)
			}
		}
		before := called.Replicas
		called = slack.Usual.Call(called, slack.Fleet{
			PerReplica: c.perReplica, Serves: serves, Demand: demand, Start: c.start + slack.Reaction, Most: c.most,
		}, needs, now())
		if called.Replicas != before {
			out.changes++
		}
		next := called.Replicas
		if len(asked.Models) > 0 {
			next = max(1, next)
		}
		after(told, func() { floor = next })
	}
	fetch := func() {
		needs, rates := []slack.Need{}, map[types.UID]float64{}
		for _, r := range racers {
			run := lease.Run{UID: r.uid, Model: model, Items: r.requests, PerRequest: 1, MaxReplicas: r.maxReplicas}
			if r.deadline > 0 {
				run.End = began.Add(r.deadline)
			}
			if n, ok := run.Need(book.Of(string(r.uid), now()), now()); ok && works(r) {
				needs, rates[r.uid] = append(needs, n), n.Rate()
			}
		}
		ledger.Need(rates)
		ledger.Offer(map[string]slack.Slack{model: left})
		asked, askedAt = slack.Question{Models: ledger.Models(now()), Needs: map[string][]slack.Need{model: needs}}, at
	}
	scale := func() {
		want := max(floor, int32(math.Ceil(c.demand(at)/c.perReplica-1e-9)), 0)
		for int32(len(ready)) < want {
			ready = append(ready, at+c.start+time.Duration(random.Int64N(int64(c.start)/4+1)))
		}
		ready = ready[:min(int(want), len(ready))]
	}
	ask := func(r *racer, w *racing, i int) {
		if !works(r) {
			return
		}
		lease, err := ledger.Lease(model, credits.Ask{UID: r.uid, Worker: w.name, Wanted: 10 * c.perReplica * float64(c.most), Lease: w.Lease()}, now())
		if err != nil {
			panic(err)
		}
		book.Note(string(r.uid), progress.Said{
			Worker: w.name, Shard: int32(i), Tally: progress.Tally{Succeeded: w.answered}, Requests: w.answered, Items: w.answered,
		}, now())
		w.Renew(lease, now(), now())
	}
	every := func(d time.Duration, do func()) {
		var again func()
		again = func() { do(); after(d, again) }
		after(time.Duration(random.Int64N(int64(d))), again)
	}
	every(slack.Usual.Every, pass)
	every(fetchEvery, fetch)
	every(ticks, scale)
	for _, r := range racers {
		for i, w := range r.workers {
			every(credits.AskEvery, func() { ask(r, w, i) })
			if c.hitch > 0 {
				every(time.Second, func() {
					if random.Float64() < c.hitch {
						w.stands = at + time.Second
					}
				})
			}
		}
	}
	for ; at < c.length; at += stride {
		due := events
		events = nil
		for _, e := range due {
			if e.due <= at {
				e.do()
			} else {
				events = append(events, e)
			}
		}
		there := int32(0)
		for _, since := range ready {
			if since+proved <= at {
				there++
			}
		}
		serving = there
		going := false
		for i, r := range racers {
			for _, w := range r.workers {
				for works(r) && w.stands <= at && w.Take(now()) {
					r.done++
					w.answered++
				}
			}
			if r.done == r.requests && out.over[i] == 0 {
				out.over[i] = at + ends
			}
			going = going || works(r)
		}
		if going || at < begins {
			out.seconds += float64(len(ready)) * stride.Seconds()
			out.peak = max(out.peak, int32(len(ready)))
		}
	}
	out.called = max(floor, called.Replicas)
	return out
}

// least are the replica-seconds of the fewest replicas that do the one run of a course in
// time, were they called for as its workers begin, and all used that they leave; false if so
// many as there may be don't. No online demand is reckoned with.
func (c course) least() (seconds float64, replicas int32, ok bool) {
	r := c.runs[0]
	work := float64(r.requests) / (c.perReplica * (1 - slack.Usual.Reserve))
	most := c.most
	if r.maxReplicas > 0 {
		most = min(most, r.maxReplicas)
	}
	for n := int32(1); n <= most; n++ {
		more := float64(max(0, n-c.there))
		// What is there works while the others start.
		start := c.start.Seconds()
		takes := start + max(0, work-float64(min(n, c.there))*start)/float64(n)
		if n <= c.there {
			takes = work / float64(n)
		}
		if begins.Seconds()+takes+ends.Seconds() <= r.deadline.Seconds() {
			return begins.Seconds()*float64(c.there) + work + more*start, n, true
		}
	}
	return 0, 0, false
}

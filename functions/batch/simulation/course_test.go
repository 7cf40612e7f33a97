package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
	// proved from a replica's being ready to its limit's being enforced. From the last time that
	// the limiter is asked for a Model, askedFor is until batch doesn't run on it any more.
	askedFor            = 10 * time.Second
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
	hitch float64
	// away is when no worker is there; nil for never.
	away   func(at time.Duration) bool
	seed   uint64
	length time.Duration
}

// result is what came of it.
type result struct {
	// over is when each run was, 0 for never.
	over []time.Duration
	// seconds are those of all replicas until all runs are over, peak is the most there were,
	// changes is how often another number was called for, falls how often fewer were while
	// some run went on.
	seconds        float64
	peak           int32
	changes, falls int
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
	shard    int32
	answered int64
	stands   time.Duration
}

// heat is a course as it goes. It goes by the real rule, ledger, book and buckets.
type heat struct {
	course
	at     time.Duration
	random *rand.Rand
	events []event
	racers []*racer
	ledger *credits.Ledger
	book   *progress.Book
	// ready is when each replica is; those at the end go first. Of serving many the limiter
	// knows, and floor many the autoscaler is to have.
	ready          []time.Duration
	serving, floor int32
	called         slack.Called
	ceiling        slack.Ceiling
	left           slack.Slack
	asked          slack.Question
	askedAt        time.Duration
	result         result
}

// race runs a course.
func race(c course) result {
	h := &heat{
		course: c, random: seeded(c.seed), ledger: credits.NewLedger(began.Add(-time.Minute)), book: progress.New(),
		ready: make([]time.Duration, c.there), serving: c.there, result: result{over: make([]time.Duration, len(c.runs))},
	}
	h.every(slack.Usual.Every, h.pass)
	h.every(fetchEvery, h.fetch)
	h.every(ticks, h.scale)
	for i, of := range c.runs {
		r := &racer{contender: of, uid: types.UID(fmt.Sprint("run-", i))}
		h.racers = append(h.racers, r)
		for n := range of.workers {
			w := &racing{name: fmt.Sprint(r.uid, "-", n), shard: int32(n)}
			r.workers = append(r.workers, w)
			h.every(credits.AskEvery, func() { h.ask(r, w) })
			h.every(time.Second, func() {
				if h.random.Float64() < c.hitch {
					w.stands = h.at + time.Second
				}
			})
		}
	}
	for ; h.at < c.length; h.at += stride {
		h.step()
	}
	h.result.called = max(h.floor, h.called.Replicas)
	return h.result
}

func (h *heat) now() time.Time { return began.Add(h.at) }

func (h *heat) after(d time.Duration, do func()) { h.events = append(h.events, event{h.at + d, do}) }

func (h *heat) every(d time.Duration, do func()) {
	var again func()
	again = func() { do(); h.after(d, again) }
	h.after(time.Duration(h.random.Int64N(int64(d))), again)
}

func (h *heat) goesOn(r *racer) bool {
	return h.at >= begins && r.done < r.requests && (r.suspended == 0 || h.at < r.suspended) && (r.deadline == 0 || h.at < r.deadline)
}

func (h *heat) works(r *racer) bool { return h.goesOn(r) && (h.away == nil || !h.away(h.at)) }

// pass is the limiter's.
func (h *heat) pass() {
	demand, serves := h.demand(h.at), float64(h.serving)*h.perReplica
	limit := 2 * serves
	s := slack.Usual.Of(slack.Model{Limit: limit, Serves: serves, Demand: slack.Demand{At: h.now(), Mean: demand, Last: demand}})
	h.ceiling = h.ceiling.Next(max(limit, 1), s.Rate, h.now())
	h.left = h.ceiling.Under(s, limit)
	var needs []slack.Need
	if h.at-h.askedAt >= askedFor {
		h.asked = slack.Question{}
	}
	for _, n := range h.asked.Needs[model] {
		if n, ok := n.After(h.at - h.askedAt); ok {
			needs = append(needs, n)
		}
	}
	before := h.called.Replicas
	h.called = slack.Usual.Call(h.called, slack.Fleet{
		PerReplica: h.perReplica, Serves: serves, Demand: demand, Start: h.start + slack.Reaction, Most: h.most,
	}, needs, h.now())
	if h.called.Replicas != before {
		h.result.changes++
	}
	if h.called.Replicas < before && slices.ContainsFunc(h.racers, h.goesOn) {
		h.result.falls++
	}
	next := h.called.Replicas
	if len(h.asked.Models) > len(h.asked.Idle) {
		next = max(1, next)
	}
	h.after(told, func() { h.floor = next })
}

// fetch is of what leases.
func (h *heat) fetch() {
	needs, rates, holds := []slack.Need{}, map[types.UID]float64{}, false
	for _, r := range h.racers {
		run := lease.Run{UID: r.uid, Model: model, Items: r.requests, PerRequest: 1, MaxReplicas: r.maxReplicas}
		if r.deadline > 0 {
			run.End = began.Add(r.deadline)
		}
		far := h.book.Of(string(r.uid), h.now())
		if n, ok := run.Need(far, h.now()); ok && h.goesOn(r) {
			needs, rates[r.uid] = append(needs, n), n.Rate()
		}
		holds = holds || far.Works && h.goesOn(r)
	}
	h.ledger.Need(rates)
	h.ledger.Offer(map[string]slack.Slack{model: h.left})
	switch asked := h.ledger.Models(h.now()); {
	case holds:
		h.asked, h.askedAt = slack.Question{Models: []string{model}, Needs: map[string][]slack.Need{model: needs}}, h.at
	case len(asked) > 0:
		h.asked, h.askedAt = slack.Question{Models: asked, Idle: asked}, h.at
	}
}

// scale is the autoscaler's.
func (h *heat) scale() {
	want := max(h.floor, int32(math.Ceil(h.demand(h.at)/h.perReplica-1e-9)))
	for int32(len(h.ready)) < want {
		h.ready = append(h.ready, h.at+h.start+time.Duration(h.random.Int64N(int64(h.start)/4+1)))
	}
	h.ready = h.ready[:min(int(want), len(h.ready))]
}

// ask is a worker's.
func (h *heat) ask(r *racer, w *racing) {
	if !h.works(r) {
		return
	}
	lease, err := h.ledger.Lease(model, credits.Ask{UID: r.uid, Worker: w.name, Wanted: 10 * h.perReplica * float64(h.most), Lease: w.Lease()}, h.now())
	if err != nil {
		panic(err)
	}
	h.book.Note(string(r.uid), progress.Said{
		Worker: w.name, Shard: w.shard, Tally: progress.Tally{Succeeded: w.answered}, Requests: w.answered, Items: w.answered,
	}, h.now())
	w.Renew(lease, h.now(), h.now())
}

// step lets a step pass.
func (h *heat) step() {
	due := h.events
	h.events = nil
	for _, e := range due {
		if e.due <= h.at {
			e.do()
		} else {
			h.events = append(h.events, e)
		}
	}
	h.serving = 0
	for _, since := range h.ready {
		if since+proved <= h.at {
			h.serving++
		}
	}
	going := h.at < begins
	for i, r := range h.racers {
		for _, w := range r.workers {
			for h.works(r) && w.stands <= h.at && w.Take(h.now()) {
				r.done++
				w.answered++
			}
		}
		if r.done == r.requests && h.result.over[i] == 0 {
			h.result.over[i] = h.at + ends
		}
		going = going || h.goesOn(r)
	}
	if going {
		h.result.seconds += float64(len(h.ready)) * stride.Seconds()
		h.result.peak = max(h.result.peak, int32(len(h.ready)))
	}
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

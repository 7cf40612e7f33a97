package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/limit/slack"
)

const (
	step = 10 * time.Millisecond
	// settle is how long a run goes on before anything is looked at.
	settle = 12 * time.Second
	// pass is from a reading to its slack, at most: a burst of writes may be under way.
	pass = 300 * time.Millisecond
	// fetchEvery is how often the function asks the limiter.
	fetchEvery = time.Second
	// written is from a ceiling to its being enforced.
	written = 400 * time.Millisecond
	// memory is how much of the demand before a reading is kept, as package demand does.
	memory = .5
	model  = "team.ranker"
)

// began is when every run does.
var began = time.Unix(2_000_000_000, 0)

// scene is what happens in a run.
type scene struct {
	rule slack.Rule
	// serves is what the replicas serve, limit what is admitted of the demand.
	serves, limit float64
	// demand in requests per second, from the end of settling on.
	demand func(at time.Duration) float64
	// chance has requests come independently; nil evenly.
	chance *rand.Rand
	length time.Duration
	// workers of two batches, and what each of them wants.
	workers int
	wanted  float64
	// off is by how much earlier than a reading says its counters may have been read.
	off time.Duration
	// way is how long an ask or an answer takes, at most; lost and doubled are how likely
	// each is that.
	way           time.Duration
	lost, doubled float64
	random        *rand.Rand
}

// outcome is what came of it, in requests per second of the replicas.
type outcome struct {
	// peak is the most by which both exceeded what the replicas serve, allowed what the
	// formula has for it; over is for how long they did, requests how many.
	peak, allowed float64
	over          time.Duration
	requests      float64
	// sent are batch's requests, left what the demand left of what the replicas serve.
	sent, left float64
	// beyond is by how much more than the formula allows, at most.
	beyond float64
	// rogue is as beyond, for somebody who has the mark and goes by no credits.
	rogue float64
}

type event struct {
	due time.Duration
	do  func()
}

type worker struct {
	name string
	credits.Bucket
}

// counts are online requests, and those with the mark.
type counts struct{ online, marked float64 }

type run struct {
	scene
	now    time.Duration
	events []event
	// counted are the requests that the gateways' counters showed after each step, read those
	// at readAt.
	counted []counts
	read    counts
	readAt  time.Duration
	// mean and marked are averages of the demand and of what carries the mark.
	mean, marked float64
	slack        slack.Slack
	backlog      slack.Backlog
	ceiling      slack.Ceiling
	enforced     slack.Ceiling
	ledger       *credits.Ledger
	workers      []*worker
	// demands are those of each step.
	demands []float64
	outcome outcome
}

func (r *run) time() time.Time { return began.Add(r.now) }

// after has something done later.
func (r *run) after(d time.Duration, do func()) { r.events = append(r.events, event{r.now + d, do}) }

// every has something done again and again, first after some part of the time.
func (r *run) every(d time.Duration, do func()) {
	var again func()
	again = func() { do(); r.after(d, again) }
	r.after(time.Duration(r.random.Int64N(int64(d))), again)
}

// play runs a scene.
func play(s scene) outcome {
	r := &run{scene: s, mean: s.demand(0), ledger: credits.NewLedger(began)}
	for i := range s.workers {
		w := &worker{name: fmt.Sprint("worker-", i)}
		r.workers = append(r.workers, w)
		r.every(credits.AskEvery, func() { r.ask(w, types.UID(fmt.Sprint("batch-", i%2))) })
	}
	r.every(s.rule.Every, r.look)
	r.every(fetchEvery, func() {
		offer := map[string]slack.Slack{model: r.slack}
		r.send(func() { r.ledger.Offer(offer) })
	})
	for r.now < settle+s.length {
		r.step()
	}
	return r.outcome
}

// send has something arrive, or not, or twice.
func (r *run) send(arrive func()) {
	late := func() time.Duration { return time.Duration(r.random.Int64N(int64(r.way) + 1)) }
	if r.random.Float64() >= r.lost {
		r.after(late(), arrive)
	}
	if r.random.Float64() < r.doubled {
		r.after(late(), arrive)
	}
}

// ask has a worker ask for credits.
func (r *run) ask(w *worker, batch types.UID) {
	asked := r.time()
	ask := credits.Ask{Namespace: "team", Batch: string(batch), UID: batch, Worker: w.name, Wanted: r.wanted, Lease: w.Lease()}
	r.send(func() {
		lease, err := r.ledger.Lease(model, ask, r.time())
		if err == nil {
			r.send(func() { w.Renew(lease, asked, r.time()) })
		}
	})
}

// look reads the counters; the slack is there a little later.
func (r *run) look() {
	counted := r.counters()
	elapsed := (r.now - r.readAt).Seconds()
	last, marked := (counted.online-r.read.online)/elapsed, (counted.marked-r.read.marked)/elapsed
	r.read, r.readAt = counted, r.now
	if r.now <= r.rule.Every {
		return // there is nothing to compare with
	}
	r.mean, r.marked = memory*r.mean+(1-memory)*last, memory*r.marked+(1-memory)*marked
	m := slack.Model{Limit: r.limit, Serves: r.serves, Demand: slack.Demand{At: r.time(), Mean: r.mean, Last: last}}
	r.backlog = r.backlog.Next(min(r.mean, r.limit)+r.marked, r.serves, r.time())
	m.Backlog = r.backlog
	r.after(time.Duration(r.random.Int64N(int64(pass))), func() {
		s := r.rule.Of(m)
		r.ceiling = r.ceiling.Next(r.limit, s.Rate, r.time())
		next := r.ceiling
		r.slack = next.Under(s, r.limit)
		r.after(written, func() { r.enforced = next })
	})
}

// counters are what a reading finds.
func (r *run) counters() counts {
	at := len(r.counted) - 1
	if r.off > 0 {
		at -= int(r.random.Int64N(int64(r.off))) / int(step)
	}
	if at < 0 {
		return counts{}
	}
	return r.counted[at]
}

// batch is what all workers may send, in requests per second.
func (r *run) batch() float64 {
	sum := 0.0
	for _, w := range r.workers {
		sum += w.Rate(r.time())
	}
	return sum
}

// step lets a step pass.
func (r *run) step() {
	due := r.events
	r.events = nil
	for _, e := range due {
		if e.due <= r.now {
			e.do()
		} else {
			r.events = append(r.events, e)
		}
	}
	demand := r.demand(max(0, r.now-settle))
	r.demands = append(r.demands, demand)
	came := demand * step.Seconds()
	if r.chance != nil {
		came = float64(independent(r.chance, came))
	}
	sum := counts{}
	if n := len(r.counted); n > 0 {
		sum = r.counted[n-1]
	}
	r.counted = append(r.counted, counts{sum.online + came, sum.marked + r.batch()*step.Seconds()})
	if r.now >= settle {
		r.measure(min(demand, r.limit))
	}
	r.now += step
}

// independent is how many of requests that come independently come, of so many on average.
func independent(chance *rand.Rand, mean float64) (n int) {
	for left := math.Exp(-mean); ; n++ {
		if left /= chance.Float64(); left >= 1 {
			return n
		}
	}
}

// measure compares what is admitted and batch with what they may come to.
func (r *run) measure(admitted float64) {
	o, lag := &r.outcome, r.rule.Lag()
	if r.lost == 0 {
		lag = r.rule.Yields(r.steps())
	}
	batch := r.batch()
	excess := admitted + batch - max(r.serves, admitted)
	allowed := r.rule.Together(r.serves, r.lowest(lag), admitted) - max(r.serves, admitted)
	o.peak, o.allowed, o.beyond = max(o.peak, excess), max(o.allowed, allowed), max(o.beyond, excess-max(0, allowed))
	if excess > 1e-9 {
		o.over += step
		o.requests += excess * step.Seconds()
	}
	o.left += max(0, r.serves-admitted) * step.Seconds()
	for _, w := range r.workers {
		for w.Take(r.time()) {
			o.sent++
		}
	}
	ceiling := r.enforced.Under(slack.Slack{Rate: math.Inf(1)}, r.limit).Rate
	most := r.rule.Together(r.serves, r.lowest(2*r.rule.Every+pass+written+2*step), admitted) - admitted + r.limit/4
	o.rogue = max(o.rogue, ceiling-most)
}

func (r *run) steps() slack.Steps {
	// The function's question, a worker's and the answer to it, and the steps of time.
	return slack.Steps{Pass: pass, Fetch: fetchEvery, Ask: credits.AskEvery, Way: 3*r.way + 6*step}
}

// lowest is the least demand for some time.
func (r *run) lowest(lag time.Duration) float64 {
	least := math.Inf(1)
	for _, d := range r.demands[max(0, len(r.demands)-1-int(lag/step)):] {
		least = min(least, d)
	}
	return least
}

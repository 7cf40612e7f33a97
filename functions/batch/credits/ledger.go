package credits

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/limit/slack"
)

const (
	// BatchesOf a Model are known at a time, at most.
	BatchesOf = 100
	// mostWorkers are known of all batches, workersOf of one. Of a namespace no more are let in
	// than there is room left for others': one alone has half of it, and the next finds room.
	mostWorkers, workersOf = 10_000, 1_000
	// forgetAfter is how long a worker is known that doesn't ask. It is more than Longest,
	// so that nothing is forgotten that is leased.
	forgetAfter = 10 * time.Second
	// leasesKept are known of a worker that asks faster than it gets answers, and offersKept
	// of what there was to lease.
	leasesKept, offersKept = 8, 5
	// burst is the time whose requests may be sent at once, and one more, as that of a Model's
	// limit: a worker isn't there the moment that a token is.
	burst = 100 * time.Millisecond
)

// ErrFull is that of an ask for which there is no room: it may be made again later.
var ErrFull = errors.New("too many workers ask for credits")

// Ledger knows what is leased to whom. At any time, what all unexpired leases of a Model
// come to is at most the greatest slack that hasn't expired: each lease was given so that it
// and all others, any that a worker may still go by for want of an answer too, came to no
// more than one that lasts as long as the lease. Who is to have how much goes by the newest.
// Were that to bound all leases too, a slack that moves with every reading would leave much
// of itself unused: the greater of a worker's last two leases counts until it has asked again.
type Ledger struct {
	// opens is from when on anything is leased: what an earlier function leased, which this
	// one doesn't know of, has ended by then.
	opens  time.Time
	number int64
	// offers are the last ones, the newest last.
	offers []map[string]slack.Slack
	models map[string]*batches
	// needs is the rate that batches have to have to meet their deadlines, by UID.
	needs map[types.UID]float64
	// workers are how many are known, of all and of each namespace; swept is when those were last looked for that have gone.
	workers    int
	namespaces map[string]int
	swept      time.Time
}

// batches of a Model. Sums are kept as workers ask, since each ask would else walk all of them;
// what ends by itself leaves them with the next sweep. So they are never less than what is held,
// and for a second may be more.
type batches struct {
	of   map[types.UID]*workers
	held float64
}

// workers of a batch, by name, and what they want together.
type workers struct {
	of   map[string]*worker
	want float64
}

// worker is what is known of one.
type worker struct {
	wanted float64
	asked  time.Time
	// leases are those that it may go by, oldest first.
	leases []leased
	// held and want are what the sums have of it.
	held, want float64
}

type leased struct {
	number  int64
	rate    float64
	expires time.Time
}

// NewLedger is that of a function that starts at a time. Its leases' numbers are above those
// of an earlier one.
func NewLedger(now time.Time) *Ledger {
	return &Ledger{opens: now.Add(Longest), number: now.UnixMicro(), models: map[string]*batches{}, namespaces: map[string]int{}, swept: now}
}

// Offer sets what there is to lease, by Model: nothing of those that aren't named.
func (l *Ledger) Offer(slacks map[string]slack.Slack) {
	l.offers = append(l.offers[max(0, len(l.offers)-offersKept+1):], slacks)
}

// Need sets the rates that batches have to have to meet their deadlines, in requests per
// second: these they have before others have any.
func (l *Ledger) Need(rates map[types.UID]float64) { l.needs = rates }

// Models are those of which somebody wants credits, sorted. Who asks no more is forgotten
// here, too: there may be nobody left who asks.
func (l *Ledger) Models(now time.Time) []string {
	l.sweepIfDue(now)
	return slices.Sorted(maps.Keys(l.models))
}

// Lease answers an ask for credits of a Model, named namespace/name; with ErrFull where there
// is no room for another worker.
func (l *Ledger) Lease(model string, ask Ask, now time.Time) (Lease, error) {
	l.sweepIfDue(now)
	w, err := l.worker(model, ask)
	if err != nil {
		return Lease{}, err
	}
	of := l.models[model]
	w.wanted, w.asked = ask.Wanted, now
	w.goesBy(ask.Lease)
	of.count(ask.UID, w, now)

	var next leased
	if !now.Before(l.opens) {
		next = l.grant(model, ask, of.held-w.held, now)
	}
	l.number++
	next.number = l.number
	w.add(next, now)
	of.count(ask.UID, w, now)
	return Lease{
		Number: next.number, Rate: next.rate, Burst: 1 + int32(math.Ceil(next.rate*burst.Seconds())),
		DurationSeconds: max(0, next.expires.Sub(now).Seconds()),
	}, nil
}

// grant is what a worker gets where all others hold so much: its share of the newest slack,
// if that goes with some slack that lasts until it asks again, or else as much of it as does.
func (l *Ledger) grant(model string, ask Ask, others float64, now time.Time) (best leased) {
	if len(l.offers) == 0 {
		return best
	}
	newest := len(l.offers) - 1
	share := l.models[model].share(l.offers[newest][model].At(now), ask, l.needs, now)
	for i := newest; i >= 0 && best.rate < share; i-- {
		of := l.offers[i][model]
		until := now.Add(Longest)
		if of.Expires.Before(until) {
			until = of.Expires
		}
		if i < newest && until.Sub(now) <= AskEvery {
			continue
		}
		if rate := min(share, of.At(now)-others); rate > best.rate {
			best = leased{rate: rate, expires: until}
		}
	}
	return best
}

// worker is the one that asks, which may be new.
func (l *Ledger) worker(model string, ask Ask) (*worker, error) {
	all := l.models[model]
	if all == nil {
		all = &batches{of: map[types.UID]*workers{}}
	}
	of := all.of[ask.UID]
	if of == nil {
		of = &workers{of: map[string]*worker{}}
	}
	if w := of.of[ask.Worker]; w != nil {
		return w, nil
	}
	namespace := namespaceOf(model)
	switch room, has := mostWorkers-l.workers, l.namespaces[namespace]; {
	case has >= room:
		return nil, fmt.Errorf("%w: %d of namespace %s, and there is room for %d of others", ErrFull, has, namespace, room)
	case len(of.of) == 0 && len(all.of) >= BatchesOf:
		return nil, fmt.Errorf("%w: those of %d batches of model %s", ErrFull, BatchesOf, model)
	case len(of.of) >= workersOf:
		return nil, fmt.Errorf("%w: %d of batch %s/%s", ErrFull, workersOf, ask.Namespace, ask.Batch)
	}
	l.models[model], all.of[ask.UID] = all, of
	of.of[ask.Worker] = &worker{}
	l.grow(namespace, 1)
	return of.of[ask.Worker], nil
}

// sweepIfDue forgets who asks no more, and sums up anew.
func (l *Ledger) sweepIfDue(now time.Time) {
	if now.Sub(l.swept) < AskEvery {
		return
	}
	l.swept = now
	for model, all := range l.models {
		all.held = 0
		for uid, of := range all.of {
			before := len(of.of)
			maps.DeleteFunc(of.of, func(_ string, w *worker) bool { return now.Sub(w.asked) >= forgetAfter })
			l.grow(namespaceOf(model), len(of.of)-before)
			if len(of.of) == 0 {
				delete(all.of, uid)
				continue
			}
			of.want = 0
			for _, w := range of.of {
				w.held, w.want = 0, 0
				all.count(uid, w, now)
			}
		}
		if len(all.of) == 0 {
			delete(l.models, model)
		}
	}
}

// count has the sums have what a worker of a batch holds and wants at a time.
func (all *batches) count(uid types.UID, w *worker, now time.Time) {
	held, want := w.holds(now), w.wants(now)
	all.held += held - w.held
	all.of[uid].want += want - w.want
	w.held, w.want = held, want
}

// grow counts so many more workers of a namespace.
func (l *Ledger) grow(namespace string, by int) {
	l.workers += by
	if l.namespaces[namespace] += by; l.namespaces[namespace] == 0 {
		delete(l.namespaces, namespace)
	}
}

// namespaceOf a Model that is named namespace/name.
func namespaceOf(model string) string {
	namespace, _, _ := strings.Cut(model, "/")
	return namespace
}

// share is what the worker that asks should have of a rate: of its batch's part, as the
// batches of a Model share the rate, and its workers that part.
func (all *batches) share(rate float64, ask Ask, needs map[types.UID]float64, now time.Time) float64 {
	wants, least := make([]float64, 0, len(all.of)), make([]float64, 0, len(all.of))
	for uid, of := range all.of {
		wants, least = append(wants, of.want), append(least, min(needs[uid], of.want))
	}
	own := all.of[ask.UID]
	part := levelAbove(rate, wants, least).of(own.want, min(needs[ask.UID], own.want))
	wants = wants[:0]
	for _, w := range own.of {
		wants = append(wants, w.wants(now))
	}
	return min(level(part, wants), ask.Wanted)
}

// wants is what the worker wants, as long as it still asks.
func (w *worker) wants(now time.Time) float64 {
	if now.Sub(w.asked) >= Longest {
		return 0
	}
	return w.wanted
}

// holds is the most of the leases that the worker may go by.
func (w *worker) holds(now time.Time) float64 {
	most := 0.0
	for _, lease := range w.leases {
		if now.Before(lease.expires) {
			most = max(most, lease.rate)
		}
	}
	return most
}

// goesBy forgets the leases before one that the worker says it goes by.
func (w *worker) goesBy(number int64) {
	for i, lease := range w.leases {
		if lease.number == number {
			w.leases = w.leases[i:]
			return
		}
	}
}

// add notes a lease that is on its way to the worker. Where there are too many, two become
// one that is as much as either for as long as either.
func (w *worker) add(next leased, now time.Time) {
	w.leases = slices.DeleteFunc(w.leases, func(l leased) bool { return !now.Before(l.expires) })
	if w.leases = append(w.leases, next); len(w.leases) <= leasesKept {
		return
	}
	first, second := w.leases[0], &w.leases[1]
	second.rate = max(second.rate, first.rate)
	if second.expires.Before(first.expires) {
		second.expires = first.expires
	}
	w.leases = w.leases[1:]
}

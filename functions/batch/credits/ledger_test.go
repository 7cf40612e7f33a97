package credits

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/slack"
)

const model = "team.ranker"

func ask(batch string, worker int, wanted float64) Ask {
	return Ask{Namespace: "team", Batch: batch, UID: types.UID(batch), Worker: fmt.Sprintf("%s-%d", batch, worker), Wanted: wanted}
}

// peer is a worker as it is: what it goes by is in its bucket.
type peer struct {
	ask Ask
	Bucket
}

// opened is a ledger that leases what there is to a time, and from that time on.
func opened(t *testing.T, rate float64) (*Ledger, time.Time) {
	t.Helper()
	l := NewLedger(start)
	l.Offer(map[string]slack.Slack{model: {Rate: rate, Expires: start.Add(time.Hour)}})
	if got, err := l.Lease(model, ask("first", 0, 1e6), start.Add(Longest-1)); err != nil || got.Rate != 0 {
		t.Fatalf("a function that has just started leases %+v, %v", got, err)
	}
	return l, start.Add(Longest)
}

// round has each of some workers ask once, in a second.
func (p peers) round(t *testing.T, l *Ledger, now time.Time) {
	t.Helper()
	for _, w := range p {
		w.ask.Lease = w.Lease()
		lease, err := l.Lease(model, w.ask, now)
		if err != nil {
			t.Fatal(err)
		}
		w.Renew(lease, now, now)
	}
}

type peers []*peer

func TestLease(t *testing.T) {
	l, now := opened(t, 100)
	got, err := l.Lease(model, ask("a", 0, 60), now)
	if err != nil || got.Rate != 50 || got.Burst != 6 || got.DurationSeconds != Longest.Seconds() {
		t.Errorf("Lease() = %+v, %v, want half: the first worker wants more than all", got, err)
	}
	now = now.Add(Longest)
	again, err := l.Lease(model, ask("a", 0, 60), now)
	if err != nil || again.Rate != 60 || again.Number <= got.Number {
		t.Errorf("Lease() = %+v, %v, want all that is wanted once the other is gone", again, err)
	}
	if other, err := l.Lease("team.other", ask("b", 0, 60), now); err != nil || other.Rate != 0 || other.DurationSeconds != 0 {
		t.Errorf("Lease() of a Model that has no slack = %+v, %v", other, err)
	}
	l.Offer(map[string]slack.Slack{model: {Rate: 100, Expires: now.Add(time.Second)}})
	if got, err := l.Lease(model, ask("a", 0, 60), now); err != nil || got.DurationSeconds != 1 {
		t.Errorf("Lease() = %+v, %v, want it to end with the slack", got, err)
	}
	if got, err := l.Lease(model, ask("a", 0, 60), now.Add(time.Second)); err != nil || got.Rate != 0 {
		t.Errorf("Lease() = %+v, %v of a slack that has expired", got, err)
	}
}

// With what is asked each second, all of the slack is leased, or all that is wanted, and
// batches and their workers have max-min fair parts of it: after four rounds, one to learn
// what all want, one to lease less to who has too much, one to learn that he goes by it, one
// to lease the rest.
func TestAllIsLeasedFairly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.Float64Range(.01, 1e4).Draw(rt, "slack")
		l, now := opened(t, rate)
		now = now.Add(Longest) // whoever asked first is forgotten
		wants := rapid.SliceOfN(rapid.SliceOfN(rapid.Float64Range(0, 1e3), 1, 8), 1, 5).Draw(rt, "wants")
		var all peers
		for b, of := range wants {
			for w, wanted := range of {
				all = append(all, &peer{ask: ask(fmt.Sprint("b", b), w, wanted)})
			}
		}
		first := rapid.IntRange(0, len(all)).Draw(rt, "first")
		all[:first].round(t, l, now)
		for range 4 {
			now = now.Add(AskEvery)
			all.round(t, l, now)
		}
		of, i, leased, wanted := batchParts(rate, wants), 0, 0.0, 0.0
		for b := range wants {
			for w, part := range batchParts(of[b], single(wants[b])) {
				got := all[i].Rate(now)
				if math.Abs(got-part) > 1e-6*(1+rate) {
					rt.Fatalf("worker %d of batch %d, of %v, has %g of %g, want %g", w, b, wants, got, rate, part)
				}
				leased, wanted, i = leased+got, wanted+wants[b][w], i+1
			}
		}
		if math.Abs(leased-min(rate, wanted)) > 1e-6*(1+rate) {
			rt.Fatalf("of %g, %g are leased where %g are wanted", rate, leased, wanted)
		}
	})
}

// batchParts pours a rate out evenly, a little at a time, over those who lack something.
func batchParts(rate float64, wants [][]float64) []float64 {
	parts, lacks := make([]float64, len(wants)), make([]float64, len(wants))
	for i, of := range wants {
		for _, want := range of {
			lacks[i] += want
		}
	}
	for rate > 1e-9 {
		least, n := math.Inf(1), 0
		for _, lack := range lacks {
			if lack > 0 {
				least, n = min(least, lack), n+1
			}
		}
		if n == 0 {
			break
		}
		pour := min(least, rate/float64(n))
		for i := range lacks {
			if lacks[i] > 0 {
				parts[i], lacks[i], rate = parts[i]+pour, lacks[i]-pour, rate-pour
				if lacks[i] < 1e-12 {
					lacks[i] = 0
				}
			}
		}
	}
	return parts
}

func single(wants []float64) [][]float64 {
	out := make([][]float64, len(wants))
	for i, want := range wants {
		out[i] = []float64{want}
	}
	return out
}

// A worker that never gets an answer, and so never says that it goes by one, keeps others
// from their part no longer than its leases last.
func TestNobodyStarves(t *testing.T) {
	l, now := opened(t, 100)
	now = now.Add(Longest)
	deaf := &peer{ask: ask("a", 0, 1e6)}
	if lease, err := l.Lease(model, deaf.ask, now); err != nil || lease.Rate != 100 {
		t.Fatalf("Lease() = %+v, %v, want all", lease, err)
	}
	var others peers
	for i := range 9 {
		others = append(others, &peer{ask: ask("a", i+1, 1e6)})
	}
	for range int((Longest+2*AskEvery)/AskEvery) + 1 {
		now = now.Add(AskEvery)
		if _, err := l.Lease(model, deaf.ask, now); err != nil {
			t.Fatal(err)
		}
		others.round(t, l, now)
	}
	for _, w := range others {
		if got := w.Rate(now); math.Abs(got-10) > 1e-9 {
			t.Errorf("%s has %g, want a tenth", w.ask.Worker, got)
		}
	}
}

// A lease that the worker may still go by counts, until it says that it goes by a newer one.
func TestALostAnswerStillCounts(t *testing.T) {
	l, now := opened(t, 100)
	now = now.Add(Longest)
	of := func(w *peer) Lease {
		w.ask.Lease = w.Lease()
		lease, err := l.Lease(model, w.ask, now)
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	a, b := &peer{ask: ask("a", 0, 1e6)}, &peer{ask: ask("a", 1, 1e6)}
	a.Renew(of(a), now, now)
	if got := of(b); got.Rate != 0 {
		t.Errorf("%g are leased while another may send all", got.Rate)
	}
	if got := of(a); got.Rate != 50 { // and is lost
		t.Errorf("%g are leased of 100 that two want", got.Rate)
	}
	now = now.Add(AskEvery)
	if got := of(b); got.Rate != 0 {
		t.Errorf("%g are leased while another may not know that it has less", got.Rate)
	}
	a.Renew(of(a), now, now)
	of(a)
	if got := of(b); got.Rate != 50 {
		t.Errorf("%g are leased once the other goes by its half", got.Rate)
	}
}

// message is an ask or an answer on its way.
type message struct {
	from  *peer
	ask   Ask
	asked time.Time
	lease *Lease
}

// world is what can happen to workers, a function and what they say to each other.
type world struct {
	ledger  *Ledger
	now     time.Time
	workers peers
	onWay   []message
	// slacks are those that there were, and until when they count.
	slacks []slackUntil
}

type slackUntil struct {
	rate  float64
	until time.Time
}

// most is the greatest slack that hasn't expired.
func (w *world) most() float64 {
	most := 0.0
	for _, s := range w.slacks {
		if w.now.Before(s.until) {
			most = max(most, s.rate)
		}
	}
	return most
}

// offer has something to lease.
func (w *world) offer(rate float64, lasts time.Duration) {
	w.ledger.Offer(map[string]slack.Slack{model: {Rate: rate, Expires: w.now.Add(lasts)}})
	w.slacks = append(w.slacks, slackUntil{rate, w.now.Add(lasts)})
}

// step lets something happen.
func (w *world) step(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 250).Draw(t, "pause")) * time.Millisecond)
	pick := func() int { return rapid.IntRange(0, len(w.onWay)-1).Draw(t, "message") }
	switch what := rapid.SampledFrom([]string{"ask", "ask", "arrive", "arrive", "arrive", "double", "lose", "slack", "restart"}).Draw(t, "what"); {
	case what == "ask":
		p := rapid.SampledFrom(w.workers).Draw(t, "worker")
		p.ask.Lease, p.ask.Wanted = p.Lease(), rapid.SampledFrom([]float64{1, 30, 1000}).Draw(t, "wanted")
		w.onWay = append(w.onWay, message{from: p, ask: p.ask, asked: w.now})
	case what == "slack":
		w.offer(rapid.Float64Range(0, 100).Draw(t, "slack"), time.Duration(rapid.IntRange(500, 4000).Draw(t, "lasts"))*time.Millisecond)
	case what == "restart":
		if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
			w.ledger = NewLedger(w.now)
			w.offer(rapid.Float64Range(0, 100).Draw(t, "slack"), 4*time.Second)
		}
	case len(w.onWay) == 0:
	case what == "lose":
		i := pick()
		w.onWay = append(w.onWay[:i], w.onWay[i+1:]...)
	case what == "double":
		w.onWay = append(w.onWay, w.onWay[pick()])
	default:
		i := pick()
		m := w.onWay[i]
		w.onWay = append(w.onWay[:i], w.onWay[i+1:]...)
		if m.lease != nil {
			m.from.Renew(*m.lease, m.asked, w.now)
			return
		}
		lease, err := w.ledger.Lease(model, m.ask, w.now)
		if err != nil {
			t.Fatal(err)
		}
		m.lease = &lease
		w.onWay = append(w.onWay, m)
	}
}

// Whatever is doubled, late, lost or overtaken, and however often the function starts anew:
// what all workers may send together is at most the greatest slack that hasn't expired.
func TestLeasesAreWithinTheSlack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{ledger: NewLedger(start), now: start}
		for i := range rapid.IntRange(1, 6).Draw(t, "workers") {
			w.workers = append(w.workers, &peer{ask: ask(fmt.Sprint("b", i%2), i, 0)})
		}
		w.now = w.now.Add(Longest)
		w.offer(100, 4*time.Second)
		for range rapid.IntRange(50, 250).Draw(t, "steps") {
			w.step(t)
			sum := 0.0
			for _, p := range w.workers {
				sum += p.Rate(w.now)
			}
			if most := w.most(); sum > most+1e-6 {
				t.Fatalf("workers may send %g together, of at most %g", sum, most)
			}
			all := w.ledger.models[model]
			if all == nil {
				continue
			}
			held := 0.0
			for _, of := range all.of {
				want := 0.0
				for name, known := range of.of {
					held, want = held+known.holds(w.now), want+known.wants(w.now)
					if len(known.leases) > leasesKept {
						t.Fatalf("%d leases are kept of %s", len(known.leases), name)
					}
				}
				if want > of.want+1e-6 {
					t.Fatalf("%g are wanted, and %g counted", want, of.want)
				}
			}
			if held > all.held+1e-6 {
				t.Fatalf("%g are held, and %g counted", held, all.held)
			}
		}
	})
}

// Nothing grows with what workers send: there is a bound on them, and those that ask no
// more are forgotten.
func TestKnownWorkersAreBounded(t *testing.T) {
	l, now := opened(t, 100)
	fill := func(model, batch string, n int) (err error) {
		for i := range n {
			if _, err = l.Lease(model, ask(batch, i, 1), now); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(model, "large", workersOf); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lease(model, ask("large", workersOf, 1), now); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "team/large") {
		t.Errorf("Lease() = %v, want the batch named", err)
	}
	if _, err := l.Lease(model, ask("large", 0, 1), now); err != nil {
		t.Errorf("Lease() of one that is known = %v", err)
	}
	for b := range BatchesOf {
		if err := fill("team.many", fmt.Sprint("small", b), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill("team.many", "smaller", 1); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "team.many") {
		t.Errorf("Lease() = %v, want the model named", err)
	}
	now = now.Add(forgetAfter)
	if _, err := l.Lease(model, ask("new", 0, 1), now); err != nil || l.workers != 1 || len(l.models) != 1 || len(l.namespaces) != 1 {
		t.Errorf("%d workers of %d models in %d namespaces are known once they ask no more, %v", l.workers, len(l.models), len(l.namespaces), err)
	}
}

// However many workers a namespace has ask, others find room: those of each that comes as
// many as it could have by then, and none beyond what is known of all.
func TestNamespacesLeaveRoom(t *testing.T) {
	l, now := NewLedger(start), start
	for n := range 10 {
		room, let := mostWorkers-l.workers, 0
		for i := range mostWorkers {
			const of = 10
			_, err := l.Lease(fmt.Sprintf("team-%d/m-%d", n, i/of), ask(fmt.Sprint("b-", n, "-", i/of), i%of, 1), now)
			if err != nil {
				if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), fmt.Sprint("of namespace team-", n)) {
					t.Fatalf("Lease() = %v, want the namespace named", err)
				}
				break
			}
			let++
		}
		if let != (room+1)/2 || l.workers > mostWorkers {
			t.Fatalf("of %d workers that there was room for, %d are let in of the next namespace, and %d are known", room, let, l.workers)
		}
	}
	sum := 0
	for _, has := range l.namespaces {
		sum += has
	}
	if sum != l.workers || len(l.namespaces) != 10 {
		t.Errorf("%d workers are known, and of namespaces %v", l.workers, l.namespaces)
	}
}

// Who asks no more is forgotten though nobody else asks.
func TestModelsAreThoseThatAreAsked(t *testing.T) {
	l, now := opened(t, 100)
	if got := l.Models(now); len(got) != 1 || got[0] != model {
		t.Errorf("of %v credits are wanted", got)
	}
	if got := l.Models(now.Add(forgetAfter)); len(got) != 0 || l.workers != 0 {
		t.Errorf("of %v credits are wanted, though nobody asks", got)
	}
}

// A batch that needs more than a fair part to meet its deadline has that, and no more than a
// fair part where that is enough.
func TestNeedIsLeasedFirst(t *testing.T) {
	for need, want := range map[float64][2]float64{0: {50, 50}, 30: {50, 50}, 80: {80, 20}, 200: {100, 0}} {
		l, now := opened(t, 100)
		now = now.Add(Longest)
		l.Need(map[types.UID]float64{"a": need})
		both := peers{{ask: ask("a", 0, 500)}, {ask: ask("b", 0, 500)}}
		for range 5 {
			now = now.Add(AskEvery)
			both.round(t, l, now)
		}
		if a, b := both[0].Rate(now), both[1].Rate(now); math.Abs(a-want[0]) > 1e-6 || math.Abs(b-want[1]) > 1e-6 {
			t.Errorf("with a need of %g, they have %g and %g, want %v", need, a, b, want)
		}
	}
}

// Models have each what is left of them, whoever asks another, be it of the same namespace or not.
func TestModelsTakeNothingFromEachOther(t *testing.T) {
	const other, third = "team.bidder", "rival.ranker"
	l, now := NewLedger(start), start.Add(Longest)
	l.Offer(map[string]slack.Slack{
		model: {Rate: 100, Expires: now.Add(time.Hour)}, other: {Rate: 50, Expires: now.Add(time.Hour)}, third: {Rate: 8, Expires: now.Add(time.Hour)},
	})
	of := map[string]peers{model: {{ask: ask("a", 0, 1e6)}, {ask: ask("b", 0, 1e6)}}, other: {{ask: ask("c", 0, 1e6)}}}
	for i := range 50 {
		of[third] = append(of[third], &peer{ask: ask(fmt.Sprint("d", i%4), i, 1e6)})
	}
	for range 5 {
		now = now.Add(AskEvery)
		for model, all := range of {
			for _, w := range all {
				w.ask.Lease = w.Lease()
				lease, err := l.Lease(model, w.ask, now)
				if err != nil {
					t.Fatal(err)
				}
				w.Renew(lease, now, now)
			}
		}
	}
	for model, want := range map[string]float64{model: 50, other: 50, third: 8. / 50} {
		sum := 0.0
		for _, w := range of[model] {
			sum += w.Rate(now)
		}
		if mean := sum / float64(len(of[model])); math.Abs(mean-want) > 1e-6 {
			t.Errorf("of %s each has %g, want %g", model, mean, want)
		}
	}
}

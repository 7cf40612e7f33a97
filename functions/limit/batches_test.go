package limit

import (
	"math"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

var asked = types.NamespacedName{Namespace: "team", Name: "m"}

// leaves asks again and again what is left of the Model, as a batch does, until that is so
// much, give or take a hundredth.
func (b *bench) leaves(what string, want float64) slack.Slack {
	b.t.Helper()
	var got slack.Slack
	b.until(what, func() bool {
		left, err := b.Left(Wanted{asked: {}})
		if err != nil {
			b.t.Fatal(err)
		}
		got = left[asked]
		return math.Abs(got.Rate-want) < 0.01
	})
	return got
}

// markedRate is what the bucket for the mark admits at each entry; nil without any.
func (b *bench) markedRates() []float64 {
	var rates []float64
	for _, entry := range gateway.Entries() {
		filter, err := b.slot(b.t.Context(), slotAt(gateway.Shared, "team.m"), entry)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, d := range filter.GetDescriptors() {
			if last := d.GetEntries()[len(d.GetEntries())-1]; last.GetKey() == "mark" && last.GetValue() == "batch" {
				bucket := d.GetTokenBucket()
				rates = append(rates, float64(bucket.GetTokensPerFill().GetValue())/bucket.GetFillInterval().AsDuration().Seconds())
			}
		}
	}
	return rates
}

// serveBoth has the Model's route forward at the plain entries.
func (b *bench) serveBoth() {
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.serve(gateway.LocalName(gateway.Shared), gateway.Shared, gateway.Local, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared, gateway.LocalName(gateway.Shared)}))
}

func TestBatchGetsWhatIsLeft(t *testing.T) { synctest.Test(t, getsWhatIsLeft) }

func getsWhatIsLeft(t *testing.T) {
	b := newBench(t, 2, rateLimit("m"))
	b.serveBoth()
	full := 0.97 * 20 // two replicas of 10 a second, without the reserve
	b.until("the limit is proved", b.applied(20))
	if got := b.markedRates(); got != nil {
		t.Errorf("without a batch, buckets for the mark admit %v", got)
	}

	got := b.leaves("all of it is left", full)
	if valid := time.Until(got.Expires); valid <= 0 || valid > slack.Usual.Valid {
		t.Errorf("it counts for %v, want up to %v", valid, slack.Usual.Valid)
	}
	b.until("a replica is asked for", func() bool {
		of := b.limit("m").Status.Revisions
		return len(of) == 1 && of[0].Needed == 1
	})
	if rates := b.markedRates(); !slices.Equal(rates, []float64{20}) {
		t.Errorf("buckets for the mark admit %v, want 20, at the local entry alone", rates)
	}

	b.set(func() { b.offered = map[string][]float64{gateway.Shared: {8, 0, 0}} })
	b.leaves("it makes way for a demand", 0.97*(20-1.002*8))
	b.set(func() {
		b.offered = map[string][]float64{gateway.Shared: {8, 0, 9}}
		b.marked = map[string][]float64{gateway.Shared: {0, 0, 9}}
	})
	b.leaves("its own requests are no demand", 0.97*(20-1.002*8))

	b.set(func() { b.silent = true })
	b.leaves("nothing, once the demand isn't read any more", 0)
	b.set(func() { b.silent = false })

	if left, err := b.Left(Wanted{{Namespace: "team", Name: "nobody"}: {}}); err != nil || len(left) > 0 {
		t.Errorf("of a Model that isn't there, there is left %v, %v", left, err)
	}
	b.batches.mu.Lock()
	if n := len(b.batches.asked); n != 1 {
		t.Errorf("%d Models are known to have been asked for, want the one that is there", n)
	}
	b.batches.asked["team/m"] = asking{at: time.Now().Add(-askedFor)}
	b.batches.mu.Unlock()
	b.Look()
	b.until("nobody asks any more, and there is no bucket for the mark", func() bool { return b.markedRates() == nil })
	if got := b.rates(gateway.Shared, "team.m"); len(got) == 0 {
		t.Error("nor one for the others")
	}
	b.until("no replica is asked for", func() bool { return b.limit("m").Status.Revisions[0].Needed == 0 })

	b.end()
	if _, err := b.Left(Wanted{asked: {}}); err == nil {
		t.Error("a replica that doesn't lead says what is left")
	}
}

// A pod that wasn't seen to hold the bucket for the mark would take batch's requests from
// what others may have.
func TestNothingIsLeftBeforeItsBucketIsProved(t *testing.T) { synctest.Test(t, waitsForItsProof) }

func waitsForItsProof(t *testing.T) {
	b := newBench(t, 2, rateLimit("m"))
	defer b.end()
	b.serveBoth()
	b.until("the limit is proved", b.applied(20))
	b.set(func() { b.lagging = "shared-a" })
	for range 20 {
		if left, err := b.Left(Wanted{asked: {}}); err != nil || len(left) > 0 {
			t.Fatalf("there is left %v, %v, though a pod lags", left, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.set(func() { b.lagging = "" })
	b.leaves("all of it, once it is proved", 0.97*20)
}

// Redirects come to no replica, and leave it to batch.
func TestOnlineIsWhatReplicasGet(t *testing.T) {
	f := New()
	f.Demand = arriving{900, 30, 10}
	p := plan{of: rateLimit("m"), homes: []home{{gateway: gateway.Shared, presence: presence{
		roles: []division.Role{division.Answering, division.Forwarding, division.Forwarding},
	}}}}
	if got := f.online(&p); got.Last != 40 {
		t.Errorf("of 900 redirects a second and 40 requests, the demand is %+v", got)
	}
}

// What is left is told as far as the last pass' bucket was seen to hold it: not before, not
// where it went meanwhile, and not while the route is on its way.
func TestLeftIsWhatWasProved(t *testing.T) {
	one := []home{{gateway: gateway.Shared, presence: presence{roles: make([]division.Role, len(gateway.Entries()))}}}
	two := append(slices.Clone(one), home{gateway: "tenant-a", presence: one[0].presence})
	whole, lagging := &proof{}, &proof{lagging: []question{{}}}
	now := time.Unix(2_000_000_000, 0)
	for name, tt := range map[string]struct {
		last  *plan
		homes []home
		marks bool
		want  float64
	}{
		"it was proved":              {&plan{marks: true, homes: one, reported: whole}, one, true, 97},
		"another one was, before":    {&plan{marks: true, homes: one, reported: lagging}, one, true, 50},
		"it is new":                  {&plan{homes: one, reported: whole}, one, true, 0},
		"so is the limit":            {nil, one, true, 0},
		"it goes":                    {&plan{marks: true, homes: one, reported: whole}, one, false, 0},
		"the route moves":            {&plan{marks: true, homes: one, reported: whole}, two, true, 0},
		"the route has just arrived": {&plan{marks: true, homes: two, reported: whole}, one, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			f.Clock, f.Demand = clocktesting.NewFakeClock(now), reading{arriving{0, 0, 0}, now}
			k := key(rateLimit("m"))
			f.beside = map[string]beside{k: {ceiling: slack.Ceiling{}.Next(100, 100, now), proved: slack.Ceiling{}.Next(100, 50, now)}}
			if tt.last != nil {
				tt.last.of = rateLimit("m")
				f.plans = []plan{*tt.last}
			}
			rate := big.NewRat(100, 1)
			f.leave([]plan{{of: rateLimit("m"), limit: rate, serving: rate, homes: tt.homes, batch: true, marks: tt.marks}})
			if got := f.batches.left[k].At(now); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("there is left %g, want %g", got, tt.want)
			}
		})
	}
}

// reading is a demand that was read at a time.
type reading struct {
	arriving
	at time.Time
}

func (r reading) ReadAt(string) time.Time { return r.at }

// Batch doesn't crowd out what a slot holds.
func TestMarkTakesRoomThatIsLeft(t *testing.T) {
	s := crowd(1, 20, 1, false)
	s.batches = sets.New(key(s.limits[0]))
	plain := (&plan{of: s.limits[0]}).claim().Limit
	if plans, _ := passed(t, s, nil); !plans[0].marks || s.claimed[gateway.SlotObjectName(gateway.Shared, 1, 0)] <= plain {
		t.Errorf("in an empty slot, the bucket for the mark has no room, or claims none: %+v", s.claimed)
	}
	models := 1
	for ; models < 10_000; models += 50 {
		full := crowd(models, 20, 1, false)
		full.batches = sets.New(key(full.limits[0]))
		plans, _ := passed(t, full, nil)
		if !plans[0].marks {
			if plans[0].refused() {
				t.Error("a limit is refused because batch runs on it")
			}
			return
		}
	}
	t.Errorf("with %d Models in one slot there is room still", models)
}

func TestMarkIsDividedOverPlaces(t *testing.T) {
	p := plan{of: rateLimit("m"), marks: true, marked: big.NewRat(100, 1), burst: time.Second}
	for _, entry := range gateway.Entries() {
		var limit, want resources.Limit
		if entry == gateway.Local {
			want.Marked = resources.Bucket{MaxTokens: 26, Tokens: 2, Fill: 80 * time.Millisecond}
		}
		if p.mark(&limit, entry, 4); limit != want {
			t.Errorf("a fourth of 100/s at entry %s: %+v, want %+v", entry.Name, limit.Marked, want.Marked)
		}
	}
}

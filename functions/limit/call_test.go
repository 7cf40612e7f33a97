package limit

import (
	"errors"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// A batch with a deadline has replicas called for, beside the online demand, for as long as
// it asks; one without has one.
func TestBatchCallsForReplicas(t *testing.T) { synctest.Test(t, callsForReplicas) }

func callsForReplicas(t *testing.T) {
	b := newBench(t, 1, rateLimit("m"))
	defer b.end()
	b.serveBoth()
	b.until("the limit is proved", b.applied(10))
	needed := func(want int32) func() bool {
		return func() bool {
			of := b.limit("m").Status.Revisions
			return len(of) == 1 && of[0].Needed == want
		}
	}
	asks := func(needs ...slack.Need) func() bool {
		return func() bool {
			if _, err := b.Left(Wanted{asked: {Needs: needs}}); err != nil {
				b.t.Fatal(err)
			}
			b.Look()
			return needed(int32(1 + 3*len(needs)))()
		}
	}
	b.until("one replica for a batch without a deadline", asks())
	b.until("four for one that has 3,600 requests left, and 100 s", asks(slack.Need{RequestsPerSecond: 36, Seconds: 100, MaxReplicas: 4}))
	if s := b.limit("m").Status; s.NeededUntil == nil || s.Needed("m-1", time.Now()) != 4 {
		t.Errorf("the status says %+v", s)
	}
	b.until("one once the batch has none", asks())
	b.until("none for one that is idle, and what is left all the same", func() bool {
		left, err := b.Left(Wanted{asked: {Idle: true}})
		if err != nil {
			b.t.Fatal(err)
		}
		b.Look()
		return needed(0)() && left[asked].Rate > 0
	})
}

func TestNeedsAge(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	b := batches{asked: map[string]asking{"team/m": {at: now, needs: []slack.Need{{RequestsPerSecond: 2, Seconds: 60}, {RequestsPerSecond: 9, Seconds: 10}}}}}
	if got := b.needs("team/m", now.Add(20*time.Second)); len(got) != 1 || got[0].Seconds != 40 || math.Abs(got[0].RequestsPerSecond-3) > 1e-9 {
		t.Errorf("20 s later, what is needed is %+v", got)
	}
	if got := b.needs("team/other", now); len(got) != 0 {
		t.Errorf("of another Model there is needed %+v", got)
	}
}

// Where nothing can be decided of one Model, what was called for it stands, and others are
// decided of.
func TestCallGoesOn(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	lost, found := rateLimit("lost"), rateLimit("found")
	f := New()
	f.Clock = clocktesting.NewFakeClock(now)
	f.Caches.Deployments = cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{byRevision: func(any) ([]string, error) { return nil, nil }})
	f.Caches.Pods = unreadable{f.Caches.Deployments, "team/lost-1"}
	need := []slack.Need{{RequestsPerSecond: 36, Seconds: 100}}
	f.batches.asked = map[string]asking{key(lost): {at: now, needs: need}, key(found): {at: now, needs: need}}
	f.called = map[string]slack.Called{key(lost): {Replicas: 3}}
	s, plans := &state{replicas: map[string][]capacity.Replicas{}}, make([]plan, 0, 2)
	for _, l := range []*v1alpha1.RateLimit{lost, found} {
		s.replicas[key(l)] = []capacity.Replicas{{Revision: l.Name + "-1", Percent: 100, Max: 9}}
		plans = append(plans, plan{of: l, batch: true, marks: true, rule: capacity.Rule{PerReplica: big.NewRat(10, 1)}, serving: new(big.Rat)})
	}
	if err := f.call(s, plans); err == nil {
		t.Error("nobody is told of what can't be read")
	}
	if n := f.called[key(lost)].Replicas; n != 3 {
		t.Errorf("%d are called for of the one that can't be read, were 3", n)
	}
	if n := f.called[key(found)].Replicas; n < 4 || n > 9 {
		t.Errorf("%d are called for of the other, want enough for 36 requests a second of 10 each", n)
	}
}

// unreadable is an index of which one value can't be looked up.
type unreadable struct {
	cache.Indexer

	value string
}

func (u unreadable) ByIndex(index, value string) ([]any, error) {
	if value == u.value {
		return nil, errors.New("no such index")
	}
	return u.Indexer.ByIndex(index, value)
}

// What is called for goes over the revisions as their requests do, within what each may have.
func TestCalledOf(t *testing.T) {
	l := rateLimit("m")
	for name, tt := range map[string]struct {
		batch  bool
		called int32
		of     capacity.Replicas
		want   int32
	}{
		"no batch":                   {false, 8, capacity.Replicas{Percent: 100}, 0},
		"no deadline":                {true, 0, capacity.Replicas{Percent: 100}, 1},
		"all of it":                  {true, 8, capacity.Replicas{Percent: 100, Max: 20}, 8},
		"a part":                     {true, 8, capacity.Replicas{Percent: 30, Max: 20}, 3},
		"nothing but a tag":          {true, 8, capacity.Replicas{Max: 20}, 0},
		"its most":                   {true, 8, capacity.Replicas{Percent: 100, Max: 5}, 5},
		"no bound of its own":        {true, 80, capacity.Replicas{Percent: 100, Desired: 2}, 80},
		"one more than can be had":   {true, 8, capacity.Replicas{Percent: 100, Max: 20, Desired: 6, Ready: 3, Missing: 3}, 4},
		"those on their way do come": {true, 8, capacity.Replicas{Percent: 100, Max: 20, Desired: 6, Ready: 3}, 8},
	} {
		f := New()
		f.called = map[string]slack.Called{key(l): {Replicas: tt.called}}
		if got := f.calledOf(&plan{of: l, batch: tt.batch}, tt.of); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// Of what a cap doesn't let through, no replicas are called for, and where requests are
// split, the revision that may have least bounds all.
func TestFleetOf(t *testing.T) {
	l := rateLimit("m")
	p := func(group *big.Rat) *plan {
		return &plan{of: l, rule: capacity.Rule{PerReplica: big.NewRat(10, 1)}, group: group, serving: big.NewRat(30, 1)}
	}
	for name, tt := range map[string]struct {
		plan         *plan
		revisions    []capacity.Replicas
		most, within int32
	}{
		"its most":           {p(nil), []capacity.Replicas{{Percent: 100, Max: 7}}, 7, 0},
		"a cap":              {p(big.NewRat(35, 1)), []capacity.Replicas{{Percent: 100, Max: 7}}, 4, 0},
		"a split":            {p(nil), []capacity.Replicas{{Percent: 20, Max: 2}, {Percent: 80, Max: 6}}, 8, 0},
		"a tag has no part":  {p(nil), []capacity.Replicas{{Percent: 100, Max: 7}, {Max: 1}}, 7, 0},
		"no bound, but some": {p(nil), []capacity.Replicas{{Percent: 100, Desired: 3}}, math.MaxInt32, 13},
		"of one alone":       {p(nil), []capacity.Replicas{{Percent: 20, Max: 4}, {Percent: 80}}, 20, 13},
		"a cap alone":        {p(big.NewRat(35, 1)), []capacity.Replicas{{Percent: 100}}, 4, 13},
	} {
		f := New()
		f.divisions = map[string]division.Division{l.Spec.VirtualService: demanded(1e6)} // most of it is refused
		got := f.fleetOf(tt.plan, tt.revisions, time.Second)
		if got.Most != tt.most || got.Within != tt.within || got.PerReplica != 10 || got.Serves != 30 || got.Start != time.Second {
			t.Errorf("%s: %+v, want %d, and %d without maxReplicas", name, got, tt.most, tt.within)
		}
	}
}

// A batch that holds no replica has what is left told, and calls for none, whatever it needs;
// nor does one of which only an earlier limiter knew.
func TestIdleBatchCallsForNone(t *testing.T) {
	for name, tt := range map[string]struct {
		asks func(f *Function)
		want int32
	}{
		"it holds some": {func(f *Function) {
			asks(t, f, `{"models":["team/m"],"needs":{"team/m":[{"requestsPerSecond":36,"seconds":100}]}}`)
		}, 6},
		"it is idle": {func(f *Function) {
			asks(t, f, `{"models":["team/m"],"idle":["team/m"],"needs":{"team/m":[{"requestsPerSecond":36,"seconds":100}]}}`)
		}, 0},
		"another one is": {func(f *Function) { asks(t, f, `{"models":["team/m"],"idle":["team/other"]}`) }, 1},
		"it is recalled": {func(f *Function) {
			f.batches.recall([]*v1alpha1.RateLimit{rateLimit("m")}, func(string) bool { return true }, f.Clock.Now())
		}, 0},
	} {
		f := newFleets(0)
		f.leads.Store(true)
		l := rateLimit("m")
		known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
		if err := known.Add(l); err != nil {
			t.Fatal(err)
		}
		f.Caches.RateLimits = listers.NewRateLimitLister(known)
		tt.asks(f.Function)
		s := &state{limits: []*v1alpha1.RateLimit{l}, replicas: map[string][]capacity.Replicas{key(l): {{Revision: "m-1", Percent: 100, Max: 9}}}}
		s.batches, s.idle = f.batches.runsOn(s.limits, f.Clock.Now())
		plans := own(s)
		plans[0].marks = true
		if err := f.call(s, plans); err != nil || !plans[0].batch {
			t.Fatalf("%s: batch runs there: %t, %v", name, plans[0].batch, err)
		}
		if got := f.calledOf(&plans[0], s.replicas[key(l)][0]); got != tt.want {
			t.Errorf("%s: %d are called for, want %d", name, got, tt.want)
		}
	}
}

// asks has batch ask what is left.
func asks(t *testing.T, f *Function, question string) {
	t.Helper()
	w := httptest.NewRecorder()
	f.LeftHandler(func(*http.Request) error { return nil }).ServeHTTP(w, httptest.NewRequest(http.MethodPost, slack.Path, strings.NewReader(question)))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// Where the mark has no bucket, batch has nothing of replicas, and calls for none but one.
func TestNoneIsCalledForWithoutABucket(t *testing.T) {
	f := New()
	s := &state{limits: []*v1alpha1.RateLimit{rateLimit("m")}, batches: sets.New("team/m"), routing: &routing{gateways: sets.New(gateway.Shared)}}
	f.batches.asked["team/m"] = asking{at: f.Clock.Now(), needs: []slack.Need{{RequestsPerSecond: 100, Seconds: 100}}}
	p := plan{of: s.limits[0], batch: true}
	if err := f.call(s, []plan{p}); err != nil || len(f.called) != 0 {
		t.Errorf("%v, %v", f.called, err)
	}
	if got := f.calledOf(&p, capacity.Replicas{Percent: 100}); got != 1 {
		t.Errorf("%d are called for, want 1", got)
	}
}

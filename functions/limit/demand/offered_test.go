package demand

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/util/sets"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// cluster is what gateway pods show at the moment: by address, and by the entries'
// places. A pod that isn't in it doesn't answer.
type cluster struct {
	pods  []Pod
	shows map[string]counts
	gone  sets.Set[string]
	slow  map[string]time.Duration
	at    map[string][]string
}

func (c *cluster) ReadyPods() []Pod { return c.pods }

func (c *cluster) Slow() map[string]time.Duration { return c.slow }

func (c *cluster) Gateways() map[string][]string { return c.at }

func (c *cluster) Served() sets.Set[string] {
	return sets.New("team.m", "team.other").Difference(c.gone)
}

func (c *cluster) fetch(_ context.Context, ip string, served sets.Set[string]) (counts, error) {
	shown, ok := c.shows[ip]
	if !ok {
		return nil, errors.New("no answer")
	}
	shown = maps.Clone(shown)
	maps.DeleteFunc(shown, func(s series, _ float64) bool { return !served.Has(s.virtualService) })
	return shown, nil
}

// shown are a pod's counters at the plain entries; it shows none that never counted.
func shown(http, local float64) counts {
	out := counts{}
	for entry, count := range map[int]float64{0: http, 2: local} {
		if count > 0 {
			out[series{virtualService: "team.m", entry: entry}] = count
		}
	}
	return out
}

// watched is the demand at a cluster's pods, at a time that a test moves.
type watched struct {
	*Offered
	*cluster
	clock *clocktesting.FakeClock
	woken int
}

func watch(log *zap.SugaredLogger, pods ...Pod) *watched {
	w := &watched{cluster: &cluster{pods: pods}, clock: clocktesting.NewFakeClock(time.Unix(0, 0))}
	w.Offered = New(w.cluster, w.clock, log, func() { w.woken++ })
	w.Offered.fetch = w.cluster.fetch
	return w
}

// after polls once more, a second later.
func (w *watched) after(t *testing.T, shows map[string]counts) []float64 {
	t.Helper()
	w.shows = shows
	w.clock.Step(PollEvery)
	w.poll(t.Context())
	return w.At(gateway.Shared, "team.m")
}

func TestDemand(t *testing.T) {
	w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"})
	for _, step := range []struct {
		name  string
		pods  map[string]counts
		want  []float64
		wakes int
	}{
		{"what was counted before is not demand", map[string]counts{"a": shown(100, 0), "b": shown(50, 0)}, []float64{0, 0, 0}, 0},
		{"there is nothing to average the first with", map[string]counts{"a": shown(160, 0), "b": shown(90, 0)}, []float64{100, 0, 0}, 1},
		{"another entry wakes, whose counter is new", map[string]counts{"a": shown(160, 40), "b": shown(90, 0)}, []float64{50, 0, 20}, 2},
		{"it settles", map[string]counts{"a": shown(160, 80), "b": shown(90, 0)}, []float64{25, 0, 30}, 3},
		{"a counter that was reset is no demand", map[string]counts{"a": shown(10, 0), "b": shown(90, 0)}, []float64{12.5, 0, 15}, 3},
	} {
		if got := w.after(t, step.pods); !slices.Equal(got, step.want) {
			t.Errorf("%s: demand %v, want %v", step.name, got, step.want)
		}
		if w.woken != step.wakes {
			t.Errorf("%s: woke %d times, want %d", step.name, w.woken, step.wakes)
		}
	}
	if got := w.At(gateway.Shared, "team.other"); slices.Max(got) != 0 {
		t.Errorf("demand of a model that nobody called: %v", got)
	}
}

// What carries the mark is told by itself as well, at its own time.
func TestMarkedDemand(t *testing.T) {
	w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"})
	marked := func(all, marked float64) map[string]counts {
		of := shown(0, all)
		if marked > 0 {
			of[series{virtualService: "team.m", entry: 2, marked: true}] = marked
		}
		return map[string]counts{"a": of}
	}
	for _, step := range []struct {
		name                string
		shows               map[string]counts
		all, marked, latest float64
	}{
		{"what was counted before is not demand", marked(100, 50), 0, 0, 0},
		{"a part of it", marked(200, 90), 100, 40, 60},
		{"none any more", marked(300, 90), 100, 20, 100},
		{"all of it", marked(400, 190), 100, 60, 0},
		{"nothing comes", marked(400, 190), 50, 30, 0},
	} {
		all := w.after(t, step.shows)
		if got := w.Marked(gateway.Shared, "team.m"); !slices.Equal(all, []float64{0, 0, step.all}) || !slices.Equal(got, []float64{0, 0, step.marked}) {
			t.Errorf("%s: demand %v, marked %v, want %g and %g", step.name, all, got, step.all, step.marked)
		}
		if got := w.Latest(gateway.Shared, "team.m"); !slices.Equal(got, []float64{0, 0, step.latest}) {
			t.Errorf("%s: %v without the mark since the reading before, want %g", step.name, got, step.latest)
		}
	}
	if got := w.Arrived(gateway.Shared, "team.m"); got[2] != 300 {
		t.Errorf("%v arrived, want each of 300 once", got)
	}
}

// Of several pods, the one counts that was read longest ago, from its second reading on.
func TestReadAt(t *testing.T) {
	a, b := Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"}
	w := watch(zap.NewNop().Sugar(), a, b)
	began, both, one := w.clock.Now(), map[string]counts{"a": shown(1, 0), "b": shown(1, 0)}, map[string]counts{"b": shown(1, 0)}
	for i, step := range []struct {
		name  string
		shows map[string]counts
		want  time.Duration
	}{
		{"one reading", both, -1}, {"two", both, 2 * PollEvery}, {"a pod isn't read", one, 2 * PollEvery}, {"nor then", one, 2 * PollEvery}, {"it is again", both, 5 * PollEvery},
	} {
		w.after(t, step.shows)
		want := began.Add(step.want)
		if step.want < 0 {
			want = time.Time{}
		}
		if got := w.ReadAt(gateway.Shared); !got.Equal(want) {
			t.Errorf("%s, %d s on: read at %v, want %v", step.name, i+1, got, want)
		}
	}
	if got := w.ReadAt("tenant-blue"); !got.IsZero() {
		t.Errorf("a gateway without pods was read at %v", got)
	}
	w.pods = []Pod{b}
	if w.after(t, one); !w.ReadAt(gateway.Shared).Equal(began.Add(6 * PollEvery)) {
		t.Errorf("with one pod left, read at %v", w.ReadAt(gateway.Shared))
	}
}

// What arrives at one gateway is not demand at another.
func TestDemandByGateway(t *testing.T) {
	w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: "tenant-blue", Name: "b", IP: "b"})
	w.after(t, map[string]counts{"a": shown(100, 0), "b": shown(0, 7)})
	w.after(t, map[string]counts{"a": shown(120, 0), "b": shown(0, 17)})
	for name, want := range map[string][]float64{gateway.Shared: {20, 0, 0}, "tenant-blue": {0, 0, 10}, "tenant-red": {0, 0, 0}} {
		if got := w.At(name, "team.m"); !slices.Equal(got, want) {
			t.Errorf("demand at %s = %v, want %v", name, got, want)
		}
	}
}

// failures are how many readings have failed.
func failures(t *testing.T) float64 {
	t.Helper()
	m := &dto.Metric{}
	if err := pollErrors.Write(m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// A pod that isn't read once, or some times, loses nothing: its rates stand, and what it
// counted meanwhile came in all of that time. One that can't be read for long is told
// of, and counts for nothing from then on.
func TestPodThatIsNotRead(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	w := watch(zap.New(core).Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"})
	missed, count := failures(t), 0.0
	both := func(seconds float64) map[string]counts {
		count += 100 * seconds
		return map[string]counts{"a": shown(count, 0), "b": shown(count, 0)}
	}
	for range 3 {
		w.after(t, both(1))
	}
	for _, seconds := range []float64{1, 2, 8} {
		for range int(seconds) {
			if got := w.after(t, map[string]counts{"b": both(1)["b"]}); got[0] != 200 {
				t.Fatalf("demand %v while a pod isn't read, want 200", got)
			}
		}
		if got := w.after(t, both(1)); got[0] != 200 {
			t.Fatalf("demand %v once it is read again after %g s, want 200", got, seconds)
		}
	}
	if got := failures(t) - missed; got != 11 || logs.Len() != 1 {
		t.Errorf("%g failures counted, %d logged; want 11, the first of them logged", got, logs.Len())
	}

	var got []float64
	for range int(standsFor/PollEvery) + 10 {
		got = w.after(t, map[string]counts{"b": both(1)["b"]})
	}
	if got[0] < 100 || got[0] > 101 {
		t.Errorf("demand %v with one of two pods gone, want 100", got)
	}
	if got = w.after(t, both(1)); got[0] > 101 {
		t.Errorf("demand %v: what a pod counted while it was gone is no demand", got)
	}
}

// A pod that ends takes its demand with it as fast as another's rises.
func TestPodThatEnds(t *testing.T) {
	a, b := Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"}
	w := watch(zap.NewNop().Sugar(), a, b)
	w.after(t, map[string]counts{"a": shown(1, 0), "b": shown(1, 0)})
	w.after(t, map[string]counts{"a": shown(101, 0), "b": shown(2, 0)})
	w.pods = []Pod{b}
	for i := range 20 {
		if got := w.after(t, map[string]counts{"b": shown(float64(102+100*i), 0)}); got[0] < 99 || got[0] > 102 {
			t.Errorf("demand %v, want 100", got)
		}
	}
	if len(w.tallies) != 1 {
		t.Errorf("%d pods are remembered, want the one that is there", len(w.tallies))
	}
}

// A virtual service of a name that had one before is not offered what that one was.
func TestVirtualServiceThatComesBack(t *testing.T) {
	w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"})
	shows := map[string]counts{"a": shown(1e6, 0)}
	w.after(t, shows)
	w.gone = sets.New("team.m")
	w.after(t, shows)
	w.gone = nil
	w.after(t, shows)
	if got := w.after(t, shows); got[0] != 0 {
		t.Errorf("demand %v, want none", got)
	}
}

func TestKnown(t *testing.T) {
	a, b := Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"}
	both, one := map[string]counts{"a": shown(1, 0), "b": shown(1, 0)}, map[string]counts{"b": shown(1, 0)}
	w := watch(zap.NewNop().Sugar(), a, b)
	for _, step := range []struct {
		name  string
		shows map[string]counts
		want  bool
	}{{"one reading", both, false}, {"a pod isn't read", one, false}, {"two of each", both, true}, {"from then on", one, true}} {
		if w.after(t, step.shows); w.Known() != step.want {
			t.Errorf("%s: Known() = %t", step.name, w.Known())
		}
	}
	w = watch(zap.NewNop().Sugar(), a, b)
	polls := 0
	for ; !w.Known() && polls < 60; polls++ {
		w.after(t, one)
	}
	if most := int(standsFor/PollEvery) + 2; polls > most {
		t.Errorf("a pod that is never read kept the demand from being known for %d polls, want at most %d", polls, most)
	}
}

// One request to a model that takes 30 s for it is work for one replica and not, as long as
// it is the newest, for fifteen; one every 30 s fills one, and one every 15 s two.
func TestDemandForSlowModels(t *testing.T) {
	const seconds, takes = 600, 30
	for _, every := range []int{seconds, takes, takes / 2} {
		w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"})
		w.slow = map[string]time.Duration{"team.m": takes * time.Second}
		most, sum, count := 0.0, 0.0, 1.0
		w.after(t, map[string]counts{"a": shown(count, 0)})
		for second := range seconds {
			if second%every == 0 {
				count++
			}
			demand := w.after(t, map[string]counts{"a": shown(count, 0)})[0]
			most = max(most, demand)
			if second >= seconds/2 {
				sum += demand
			}
		}
		offered := 1 / float64(every)
		if mean := sum / (seconds / 2); every < seconds && (mean < 0.9*offered || mean > 1.1*offered) {
			t.Errorf("one every %d s: a demand of %g, want %g", every, mean, offered)
		}
		if bound := offered + 1.0/takes; most > bound {
			t.Errorf("one every %d s: a demand of %g at most, want no more than another replica's, %g", every, most, bound)
		}
	}
}

// What comes is kept by second, without requests with the mark; where a pod doesn't say all of
// it, that is told.
func TestWhatComesIsKept(t *testing.T) {
	a, b := Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"}
	w := watch(zap.NewNop().Sugar(), a, b)
	type telling struct {
		came  float64
		whole bool
	}
	var told []telling
	w.Keep(func(now time.Time, came map[string]float64, whole func(string) bool) {
		if !now.Equal(w.clock.Now()) {
			t.Errorf("told at %v, want %v", now, w.clock.Now())
		}
		told = append(told, telling{came["team.m"], whole("team.m")})
	})
	marked := func(http, local, mark float64) counts {
		out := shown(http, local)
		out[series{virtualService: "team.m", marked: true}] = mark
		return out
	}
	for _, shows := range []map[string]counts{
		{"a": marked(10, 5, 2), "b": shown(7, 0)},
		{"a": marked(20, 6, 5), "b": shown(9, 1)},
		{"a": marked(21, 6, 5)},
		{"a": marked(22, 6, 5), "b": shown(15, 1)},
		{"a": marked(22, 6, 5), "b": shown(15, 1)},
	} {
		w.after(t, shows)
	}
	want := []telling{{0, false}, {10 + 1 - 3 + 2 + 1, true}, {1, false}, {1 + 6, false}, {0, true}}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// A gateway's pod that can't be read has what came elsewhere be whole.
func TestWhatComesIsWholeByGateway(t *testing.T) {
	w := watch(zap.NewNop().Sugar(), Pod{Gateway: gateway.Shared, Name: "a", IP: "a"}, Pod{Gateway: gateway.Shared, Name: "b", IP: "b"}, Pod{Gateway: "tenant-blue", Name: "c", IP: "c"})
	w.at = map[string][]string{
		"team.m": {gateway.Shared}, "team.other": {"tenant-blue"},
		"team.moving": {gateway.Shared, "tenant-blue"}, "team.early": {"tenant-red"},
	}
	got := map[string]bool{}
	w.Keep(func(_ time.Time, _ map[string]float64, whole func(string) bool) {
		for _, name := range []string{"team.m", "team.other", "team.moving", "team.early", "team.nobody"} {
			got[name] = whole(name)
		}
	})
	type of = map[string]bool
	all, shown := map[string]counts{"a": shown(1, 0), "b": shown(1, 0), "c": shown(1, 0)}, func(ips ...string) map[string]counts {
		out := map[string]counts{}
		for _, ip := range ips {
			out[ip] = shown(1, 0)
		}
		return out
	}
	for _, step := range []struct {
		name  string
		shows map[string]counts
		want  of
	}{
		{"the first reading", all, of{"team.m": false, "team.other": false, "team.moving": false, "team.early": false, "team.nobody": false}},
		{"all", all, of{"team.m": true, "team.other": true, "team.moving": true, "team.early": false, "team.nobody": true}},
		{"not a", shown("b", "c"), of{"team.m": false, "team.other": true, "team.moving": false, "team.early": false, "team.nobody": false}},
		{"a again", all, of{"team.m": false, "team.other": true, "team.moving": false, "team.early": false, "team.nobody": false}},
		{"not c", shown("a", "b"), of{"team.m": true, "team.other": false, "team.moving": false, "team.early": false, "team.nobody": false}},
	} {
		if w.after(t, step.shows); !maps.Equal(got, step.want) {
			t.Errorf("%s: whole are %v, want %v", step.name, got, step.want)
		}
	}
}

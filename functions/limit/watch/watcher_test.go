package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/limit/bounds"
	"sluice.dev/sluice/functions/limit/demand"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// trials is a Watcher of a cluster that a test has, at a time that it moves.
type trials struct {
	*Watcher
	limits []Limit
	pods   []demand.Pod
	// shows is what pods have counted, by address and virtual service; one that isn't in it
	// doesn't answer.
	shows map[string]map[string]bounds.Counts
	// unread are virtual services that no pod tells of.
	unread []string
	// asked are the questions of the last look: an address with what it was asked about.
	asked map[string]map[string]time.Duration
	clock *clocktesting.FakeClock
	woken int
}

func (c *trials) Bounded() []Limit { return c.limits }

func (c *trials) ReadyPods() []demand.Pod { return slices.Clone(c.pods) }

func watching(limits ...Limit) *trials {
	c := &trials{
		limits: limits, clock: clocktesting.NewFakeClock(time.Unix(2_000_000_000, 0)), shows: map[string]map[string]bounds.Counts{},
	}
	for _, pod := range []struct{ gateway, name string }{{gateway.Shared, "a"}, {gateway.Shared, "b"}, {"tenant-blue", "c"}} {
		c.pods = append(c.pods, demand.Pod{Gateway: pod.gateway, Name: pod.name, IP: pod.name})
		c.shows[pod.name] = map[string]bounds.Counts{}
	}
	c.Watcher = New(c, c.clock, zap.NewNop().Sugar(), func() { c.woken++ })
	return c
}

// second passes.
func (c *trials) second(t *testing.T) {
	t.Helper()
	c.clock.Step(every)
	asked := make(chan map[string]map[string]time.Duration, 1)
	asked <- map[string]map[string]time.Duration{}
	c.read = func(_ context.Context, ip string, slow map[string]time.Duration) map[string]bounds.Reading {
		all := <-asked
		all[ip] = slow
		asked <- all
		read := map[string]bounds.Reading{}
		for name := range slow {
			if read[name] = (bounds.Reading{Counts: c.shows[ip][name]}); c.shows[ip] == nil || slices.Contains(c.unread, name) {
				read[name] = bounds.Reading{Err: errors.New("connection refused")}
			}
		}
		return read
	}
	c.look(t.Context())
	c.asked = <-asked
}

func (c *trials) fail(pod, virtualService string, n float64) {
	c.shows[pod][virtualService] = c.shows[pod][virtualService].Plus(bounds.Counts{Completed: n, Errors: n})
}

var since = metav1.NewMicroTime(time.Unix(2_000_000_000, 0))

// bounded is a RateLimit with bounds on errors and latency.
func bounded(name string, gateways ...string) Limit {
	return Limit{
		Name: types.NamespacedName{Namespace: "team", Name: name}, VirtualService: "team." + name, Gateways: gateways,
		Bounds: v1alpha1.RateLimitBounds{
			Since: since, ErrorPercent: ptr.Int32(2),
			Latency: &v1alpha1.LatencyBound{Percentile: 99, Above: metav1.Duration{Duration: 250 * time.Millisecond}},
		},
	}
}

// A breach is told once it is found, by all that know its bounds, and nobody is asked of it
// any more.
func TestBreachIsFound(t *testing.T) {
	m, other := bounded("m", gateway.Shared), bounded("other", gateway.Shared)
	c := watching(m, other)
	c.second(t)
	c.fail("a", "team.m", 5)
	c.second(t)
	if c.woken != 1 {
		t.Errorf("woke %d times, want once", c.woken)
	}
	breach := c.Breach(m.Name, since)
	if breach == nil || breach.Reason != v1alpha1.BreachErrorPercent {
		t.Fatalf("breach %+v, want of errors", breach)
	}
	if got := c.Breach(other.Name, since); got != nil {
		t.Errorf("another's breach: %+v", got)
	}
	if got := c.Breach(m.Name, metav1.NewMicroTime(since.Add(time.Second))); got != nil {
		t.Errorf("the breach of other bounds: %+v", got)
	}
	for range 3 {
		c.fail("a", "team.m", 50)
		c.second(t)
	}
	if got := c.Breach(m.Name, since); c.woken != 1 || got.Message != breach.Message {
		t.Errorf("woke %d times, breach %+v; want it to stand", c.woken, got)
	}
	if _, ok := c.asked["a"]["team.m"]; ok {
		t.Errorf("asked about %v, of which a breach is known", c.asked["a"])
	}
	c.limits = []Limit{other} // its status tells of it
	c.second(t)
	if got := c.Breach(m.Name, since); got != nil {
		t.Errorf("%+v is kept of what isn't watched", got)
	}
}

// Only pods are asked that serve what has bounds, and only about that.
func TestWhoIsAsked(t *testing.T) {
	const bound = 250 * time.Millisecond
	unbounded := bounded("quick", "tenant-blue")
	unbounded.Bounds.Latency = nil
	for name, tt := range map[string]struct {
		limits []Limit
		want   map[string]map[string]time.Duration
	}{
		"no bounds":        {nil, map[string]map[string]time.Duration{}},
		"on one gateway":   {[]Limit{bounded("m", "tenant-blue")}, map[string]map[string]time.Duration{"c": {"team.m": bound}}},
		"on two":           {[]Limit{bounded("m", gateway.Shared, "tenant-blue")}, map[string]map[string]time.Duration{"a": {"team.m": bound}, "b": {"team.m": bound}, "c": {"team.m": bound}}},
		"two on one":       {[]Limit{bounded("m", "tenant-blue"), bounded("n", "tenant-blue")}, map[string]map[string]time.Duration{"c": {"team.m": bound, "team.n": bound}}},
		"errors alone":     {[]Limit{unbounded}, map[string]map[string]time.Duration{"c": {"team.quick": 0}}},
		"on one of nobody": {[]Limit{bounded("m", "tenant-red")}, map[string]map[string]time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := watching(tt.limits...)
			c.second(t)
			if !maps.EqualFunc(c.asked, tt.want, maps.Equal) {
				t.Errorf("asked %v, want %v", c.asked, tt.want)
			}
		})
	}
}

// Other bounds are watched anew, as by one who takes over: what came before isn't theirs.
func TestWatchedAnew(t *testing.T) {
	for name, anew := range map[string]func(c *trials){
		"another trial": func(c *trials) { c.limits[0].Bounds.Since = metav1.NewMicroTime(since.Add(time.Minute)) },
		"other bounds":  func(c *trials) { c.limits[0].Bounds.ErrorPercent = ptr.Int32(3) },
		"a new name":    func(c *trials) { c.limits[0].VirtualService = "team.n" },
		"a new leader":  func(c *trials) { c.Watcher = New(c, c.clock, zap.NewNop().Sugar(), func() { c.woken++ }) },
		"gone and back": func(c *trials) {
			limits := c.limits
			c.limits = nil
			c.look(t.Context())
			c.limits = limits
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := watching(bounded("m", gateway.Shared))
			c.second(t)
			for _, vs := range []string{"team.m", "team.n"} {
				c.fail("a", vs, 2) // which isn't enough
			}
			c.second(t)
			anew(c)
			for _, vs := range []string{"team.m", "team.n"} {
				c.fail("a", vs, 2)
			}
			c.second(t)
			c.second(t)
			if c.woken != 0 {
				t.Errorf("breach %+v of what came before", c.Breach(c.limits[0].Name, c.limits[0].Bounds.Since))
			}
			c.fail("a", c.limits[0].VirtualService, 5)
			c.second(t)
			if c.woken != 1 || c.Breach(c.limits[0].Name, c.limits[0].Bounds.Since) == nil {
				t.Error("what comes from now on counts for nothing")
			}
		})
	}
}

// A pod that can't be read ends what it serves after a while, and nothing else.
func TestPodThatIsNotRead(t *testing.T) {
	here, elsewhere := bounded("m", gateway.Shared), bounded("n", "tenant-blue")
	c := watching(here, elsewhere)
	c.second(t)
	delete(c.shows, "b")
	for second := range int(bounds.UnreadFor / every) {
		if c.woken != 0 {
			t.Fatalf("ended after %d s", second)
		}
		c.second(t)
	}
	if breach := c.Breach(here.Name, since); breach == nil || breach.Reason != v1alpha1.BreachUnwatched {
		t.Errorf("breach %+v, want Unwatched", breach)
	}
	if breach := c.Breach(elsewhere.Name, since); breach != nil {
		t.Errorf("breach %+v on another gateway", breach)
	}
	c.limits = nil
	c.second(t)
	if len(c.watched)+len(c.logged) != 0 {
		t.Errorf("%d RateLimits and %d pods are remembered, want none", len(c.watched), len(c.logged))
	}
}

// What of a pod's isn't read ends by itself, and not what is read of the same pod.
func TestPartOfAPodThatIsNotRead(t *testing.T) {
	m, unread := bounded("m", gateway.Shared), bounded("n", gateway.Shared)
	c := watching(m, unread)
	c.second(t)
	c.unread = []string{unread.VirtualService}
	for range int(bounds.UnreadFor / every) {
		c.second(t)
	}
	if breach := c.Breach(unread.Name, since); breach == nil || breach.Reason != v1alpha1.BreachUnwatched {
		t.Errorf("breach %+v, want Unwatched", breach)
	}
	if breach := c.Breach(m.Name, since); breach != nil {
		t.Errorf("breach %+v of what is read", breach)
	}
}

// Whoever ends, or loses the lead, tells of no pod that it couldn't read for that.
func TestEndIsNoBreach(t *testing.T) {
	c := watching(bounded("m", gateway.Shared))
	c.second(t)
	ctx, end := context.WithCancel(t.Context())
	c.read = func(context.Context, string, map[string]time.Duration) map[string]bounds.Reading {
		end()
		return map[string]bounds.Reading{"team.m": {Err: fmt.Errorf("asking: %w", ctx.Err())}}
	}
	c.clock.Step(time.Minute)
	c.look(ctx)
	if c.woken != 0 {
		t.Errorf("woke %d times", c.woken)
	}
}

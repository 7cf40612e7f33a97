package limit

import (
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// bounded has a RateLimit's trial, that began then, bounded in errors.
func bounded(since metav1.MicroTime) func(*v1alpha1.RateLimitSpec) {
	return func(spec *v1alpha1.RateLimitSpec) {
		spec.Bounds = &v1alpha1.RateLimitBounds{Since: since, ErrorPercent: ptr.Int32(2)}
	}
}

// breaks has bounds of then be passed, as its message tells.
func (b *bench) breaks(since metav1.MicroTime, message string) {
	b.set(func() {
		b.passed = &v1alpha1.RateLimitBreach{Since: since, Reason: v1alpha1.BreachErrorPercent, Message: message}
	})
	b.Breached()
}

// tells is true once the status is about the spec that there is, with a breach of that
// message, "" for none: then nothing is on its way any more.
func (b *bench) tells(message string) func() bool {
	return func() bool {
		l := b.limit("m")
		told := ""
		if l.Status.Breach != nil {
			told = l.Status.Breach.Message
		}
		return told == message && l.Status.ObservedGeneration == l.Generation && isReady(&l.Status)
	}
}

// A breach is told once, stays while its bounds do, whoever leads, and goes with them.
func TestBreachIsToldOnce(t *testing.T) {
	t.Parallel()
	began := metav1.NewMicroTime(time.Unix(2_000_000_000, 0))
	next := metav1.NewMicroTime(began.Add(time.Hour))
	b := newBench(t, 1, rateLimit("m"))
	b.until("the first limit", b.applied(10))
	b.change("m", bounded(began))
	b.until("no breach yet", b.tells(""))
	b.breaks(began, "first")
	b.until("the breach", b.tells("first"))
	if !b.applied(10)() {
		t.Errorf("the status lost what it told: %+v", b.limit("m").Status)
	}

	written := writesIn(b.sluice.Actions())
	b.breaks(began, "second")
	b.until("the comparison", func() bool { return len(b.breached) == 0 })
	b.Look()
	b.until("the look", func() bool { return len(b.look) == 0 })
	if !b.tells("first")() || writesIn(b.sluice.Actions()) != written {
		t.Errorf("the breach was told anew: %+v", b.limit("m").Status.Breach)
	}

	b.end()
	b.start()
	b.scale(2, 2)
	b.until("another limit, by the one who took over", b.applied(20))
	if !b.tells("first")() {
		t.Errorf("who took over tells %+v", b.limit("m").Status.Breach)
	}

	b.change("m", bounded(next))
	b.until("no breach of another trial", b.tells(""))
	b.breaks(next, "third")
	b.until("its own", b.tells("third"))
	b.change("m", func(spec *v1alpha1.RateLimitSpec) { spec.Bounds = nil })
	b.until("no breach without bounds", b.tells(""))
}

// What a limit waits for, a breach doesn't: a pod that lags.
func TestBreachWaitsForNoProof(t *testing.T) {
	t.Parallel()
	began := metav1.NewMicroTime(time.Unix(2_000_000_000, 0))
	b := newBench(t, 1, rateLimit("m"))
	b.until("the first limit", b.applied(10))
	b.change("m", bounded(began))
	b.until("no breach yet", b.tells(""))
	b.end()
	b.build()
	b.set(func() { b.lagging = "shared-a" })
	b.breaks(began, "now")
	s, err := b.Caches.gather()
	if err != nil {
		t.Fatal(err)
	}
	b.plans, b.pods = decide(s, nil), s.pods
	b.report()
	b.reportBreaches()
	at := b.statuses.of["team/m"]
	if at == nil || at.waiting == nil || at.waiting.Status.Breach == nil {
		t.Fatal("the breach waits for a proof")
	}
	if at.waiting.Status.Limit == nil || at.waiting.Status.Limit.RequestsPerSecond.Value() != 10 {
		t.Errorf("beside the breach the status tells %+v, want what it told before", at.waiting.Status.Limit)
	}
}

// What has bounds is watched until its breach is told, unless it is another's virtual service.
func TestBounded(t *testing.T) {
	t.Parallel()
	began := metav1.NewMicroTime(time.Unix(2_000_000_000, 0))
	with := func(name string, edit func(*v1alpha1.RateLimit)) *v1alpha1.RateLimit {
		l := rateLimit(name)
		bounded(began)(&l.Spec)
		edit(l)
		return l
	}
	breach := func(at metav1.MicroTime) func(*v1alpha1.RateLimit) {
		return func(l *v1alpha1.RateLimit) { l.Status.Breach = &v1alpha1.RateLimitBreach{Since: at} }
	}
	b := newBench(t, 1, rateLimit("without"),
		with("m", func(*v1alpha1.RateLimit) {}),
		with("told", breach(began)),
		with("of-another", breach(metav1.NewMicroTime(began.Add(-time.Hour)))),
		with("thief", func(l *v1alpha1.RateLimit) { aboutAnother(l) }),
	)
	got := sets.New[string]()
	for _, l := range b.informers.Bounded() {
		got.Insert(l.VirtualService)
		if !l.Bounds.Since.Equal(&began) || len(l.Gateways) != 1 || l.Gateways[0] != gateway.Shared || l.VirtualService != "team."+l.Name.Name {
			t.Errorf("watched as %+v", l)
		}
	}
	if want := sets.New("team.m", "team.of-another"); !got.Equal(want) {
		t.Errorf("watched are %v, want %v", got, want)
	}
}

// A virtual service is served where its own RateLimit says.
func TestGateways(t *testing.T) {
	t.Parallel()
	moving, thief := rateLimit("moving"), aboutAnother(rateLimit("thief"))
	moving.Spec.Gateways, thief.Spec.Gateways = []string{gateway.Shared, "tenant-blue"}, []string{"tenant-red"}
	got := newBench(t, 1, rateLimit("m"), moving, thief).informers.Gateways()
	if want := map[string][]string{"team.m": {gateway.Shared}, "team.moving": {gateway.Shared, "tenant-blue"}}; !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("served are %v, want %v", got, want)
	}
}

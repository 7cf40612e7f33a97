package limit

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const blue = "tenant-blue"

// A tenant moves from the shared gateway to its own. Its limit is at the new one
// before its route, whole at both while they have it, and at the old one until the
// route is gone from there. Then that gateway goes.
func TestMove(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	for _, g := range []string{gateway.Shared, blue} {
		b.serve(g, g, gateway.External, "./*")
		b.serve(gateway.LocalName(g), g, gateway.Local, "./*")
	}
	on := func(gateways ...string) []string {
		var refs []string
		for _, g := range gateways {
			refs = append(refs, g, gateway.LocalName(g))
		}
		return refs
	}
	b.route(routeTo("team.m", on(gateway.Shared)))
	b.until("the first limit", b.applied(10))
	b.until("the slots of a gateway without limits", func() bool { return b.slotWrites() >= 2*gateway.DefaultSlots })
	if got := b.rates(blue, "team.m"); len(got) > 0 {
		t.Errorf("a gateway that has nothing to do with it admits %v", got)
	}

	b.set(func() { b.offered = map[string][]float64{gateway.Shared: {3, 0, 1}} })
	whole := []float64{5, 0.01, 4.99}
	b.change("m", func(s *v1alpha1.RateLimitSpec) { s.Gateways = []string{gateway.Shared, blue} })
	b.until("the limit at both, before the route", func() bool {
		return b.admits(gateway.Shared, "team.m", whole...)() && b.admits(blue, "team.m", whole...)()
	})
	b.until("a gateway without pods named", func() bool { return strings.Contains(b.unproved("m"), blue) })
	b.until("the proof at the other alone", b.provedAt(gateway.Shared))
	if _, err := b.kube.CoreV1().Pods(gateway.Namespace).Create(t.Context(), gatewayPod(blue, "blue-a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the proof on both", func() bool { return b.applied(10)() && b.limit("m").Status.Limit.ProvedGatewayPods == 2 })
	b.until("the proof at each told", b.provedAt(gateway.Shared, blue))
	var d eventing.LimitApplied
	b.until("its event", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.sent[len(b.sent)-1].DataAs(&d) == nil && d.Gateway == "shared,tenant-blue"
	})

	written := b.slotWrites()
	b.route(routeTo("team.m", on(gateway.Shared, blue)))
	b.set(func() { b.offered = map[string][]float64{blue: {3, 0, 1}} }) // the address flips
	b.change("m", func(s *v1alpha1.RateLimitSpec) { s.Gateways = []string{blue} })
	b.until("the proof on the new one", func() bool { return b.applied(10)() && b.limit("m").Status.Limit.GatewayPods == 1 })
	if got := b.slotWrites(); got != written || !b.admits(gateway.Shared, "team.m", whole...)() {
		t.Errorf("%d slots were written while the route was at both, and the one it leaves admits %v", got-written, b.rates(gateway.Shared, "team.m"))
	}
	b.route(routeTo("team.m", on(blue)))
	b.until("the limit gone with the route", b.admits(gateway.Shared, "team.m"))
	if !b.admits(blue, "team.m", whole...)() {
		t.Errorf("the new gateway admits %v", b.rates(blue, "team.m"))
	}

	// A gateway that is going has no Istio Gateway of its name, and gets no slots.
	if err := b.istio.NetworkingV1().Gateways(gateway.Namespace).Delete(t.Context(), blue, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("a limit with nowhere to go", func() bool { return strings.Contains(b.unproved("m"), blue) })
	name := gateway.SlotObjectName(blue, gateway.DefaultSlots, 0)
	if err := b.Filters.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.scale(2, 2)
	b.until("a later pass", func() bool { return b.limit("m").Status.Limit.RequestsPerSecond.Value() == 20 })
	if _, err := b.Filters.Get(t.Context(), name, metav1.GetOptions{}); err == nil {
		t.Error("a slot of a gateway that is gone was written")
	}
}

// unproved is why a RateLimit isn't proved.
func (b *bench) unproved(name string) string {
	b.t.Helper()
	l := b.limit(name)
	if c := l.Status.GetCondition(v1alpha1.RateLimitConditionProved); c.IsFalse() {
		return c.GetMessage()
	}
	return ""
}

// A demand above the limit is held to it over both gateways together.
func TestMoveAtTheLimit(t *testing.T) {
	t.Parallel()
	l := rateLimit("m")
	l.Spec.Gateways = []string{gateway.Shared, blue}
	b := newBench(t, 1, l)
	for _, g := range l.Spec.Gateways {
		b.serve(g, g, gateway.External, "./*")
	}
	b.set(func() { b.offered = map[string][]float64{gateway.Shared: {60}, blue: {20}} })
	b.route(routeTo("team.m", l.Spec.Gateways))
	b.until("three quarters at one", b.admits(gateway.Shared, "team.m", 7.47, 0.01, 0.01))
	b.until("and a quarter at the other", b.admits(blue, "team.m", 2.49, 0.01, 0.01))
	b.set(func() { b.offered = map[string][]float64{gateway.Shared: {1}, blue: {1}} })
	for _, g := range l.Spec.Gateways {
		b.until("the whole of it again", b.admits(g, "team.m", 9.98, 0.01, 0.01))
	}
}

// provedAt tells whether m's status names just these gateways as those of the proof.
func (b *bench) provedAt(gateways ...string) func() bool {
	return func() bool {
		l := b.limit("m")
		return l.Status.Limit != nil && slices.Equal(l.Status.Limit.ProvedGateways, gateways) && l.ProvedAt(gateways[0])
	}
}

// HTTP redirects to HTTPS, where a certificate has a filter chain: it is asked too,
// and one that isn't served is named, and keeps no other limit from its proof.
func TestCertificate(t *testing.T) {
	t.Parallel()
	other := rateLimit("other")
	b := newBench(t, 1, rateLimit("m"), other)
	b.set(func() { b.uncertified = "m.blue.test" })
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.serve(gateway.SecureName(blue, gateway.Shared), gateway.Shared, gateway.Secure, "./*.blue.test")
	v := routeTo("team.m", []string{gateway.Shared, gateway.SecureName(blue, gateway.Shared)}, "m.blue.test")
	redirect(v, gateway.Shared)
	b.route(v)
	b.route(routeTo("team.other", []string{gateway.Shared}))

	b.until("redirects to get no share", b.admits(gateway.Shared, "team.m", 10, 9.99, 0.01))
	b.until("the certificate named", func() bool { return strings.Contains(b.unproved("m"), "shared-a (https m.blue.test)") })
	b.until("the other proved", func() bool {
		l := b.limit("other")
		return isReady(&l.Status)
	})
	b.set(func() { b.uncertified = "" })
	b.until("the proof by the certificate", b.applied(10))
}

func TestCap(t *testing.T) {
	t.Parallel()
	second := rateLimit("n")
	b := newBench(t, 2, rateLimit("m"), second)
	b.until("the limit without a cap", b.applied(20))
	for _, name := range []string{"m", "n"} {
		b.change(name, func(s *v1alpha1.RateLimitSpec) {
			s.Cap = &v1alpha1.RateLimitCap{Name: "blue", RequestsPerSecond: resource.MustParse("10")}
		})
	}
	b.until("half of the cap", b.applied(5))
	if got := b.limit("m").Status.Limit.UncappedRequestsPerSecond; got == nil || got.Value() != 20 {
		t.Errorf("without the cap it would be %v, want 20", got)
	}
	b.until("half of it enforced", func() bool {
		got := b.rates(gateway.Shared, "team.m")
		return len(got) > 0 && got[0] == 4.99
	})
	b.change("m", func(s *v1alpha1.RateLimitSpec) { s.Cap.RequestsPerSecond = resource.MustParse("0") })
	b.until("a cap of nothing refused", func() bool {
		l := b.limit("m")
		return l.Status.GetCondition(v1alpha1.RateLimitConditionWritten).IsFalse()
	})
}

// A limit that can't be computed any more stays as it was while there is a route.
func TestRefusalLeavesTheLastLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared}))
	b.until("the limit", b.applied(10))
	b.until("the route in the cache", b.routed("team.m"))
	b.change("m", func(s *v1alpha1.RateLimitSpec) { s.RequestsPerSecondPerReplica = resource.MustParse("0") })
	b.until("the refusal", func() bool {
		l := b.limit("m")
		return l.Status.GetCondition(v1alpha1.RateLimitConditionWritten).IsFalse()
	})
	if l := b.limit("m"); l.ProvedAt(gateway.Shared) {
		t.Errorf("a limit that is refused is proved: %+v", l.Status)
	}
	if !b.admits(gateway.Shared, "team.m", 9.98, 0.01, 0.01)() {
		t.Errorf("the route is limited to %v", b.rates(gateway.Shared, "team.m"))
	}
}

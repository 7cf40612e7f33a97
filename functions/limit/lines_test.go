package limit

import (
	"testing"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Requests that may wait deepen the bucket of the entry for callers inside the cluster,
// and of no other, by what replicas serve in that time, over all pods; a write fills it
// with what there is room for.
func TestQueueDeepensOneBucket(t *testing.T) {
	l := rateLimit("m")
	l.Spec.Queue = &metav1.Duration{Duration: time.Minute}
	l.Spec.Policy, l.Spec.HeadroomPercent = v1alpha1.PolicyDemand, 100
	s := &state{
		limits:   []*v1alpha1.RateLimit{l},
		replicas: map[string][]capacity.Replicas{key(l): {{Percent: 100, Ready: 1, Desired: 1, Max: 4}}},
		pods:     map[string][]Pod{gateway.Shared: {{Slots: 1}, {Slots: 1}}},
		counts:   map[string]sets.Set[int]{gateway.Shared: sets.New(1)},
		routing: newRouting([]*istiov1.Gateway{istioGatewayOf(gateway.Shared, gateway.Shared, gateway.External, "./*")},
			[]*istiov1.VirtualService{routeTo("team.m", []string{gateway.Shared}, "m.blue.test")}),
	}
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	f := New()
	f.Clock = clock
	demand := arriving{0, 0, 0}
	f.Demand = demand
	look := func() []resources.Limit {
		t.Helper()
		plans := decide(s, nil)
		f.divide(s, plans)
		f.line(plans)
		var of []resources.Limit
		for _, limits := range f.slotsOf(s, plans, "token")[0].Limits {
			of = append(of, limits...)
		}
		if len(of) != len(gateway.Entries()) {
			t.Fatalf("limits are %+v", of)
		}
		return of
	}
	for e, entry := range gateway.Entries() {
		want := uint32(0)
		if entry == gateway.Local {
			want = 300 // half of 10 a second for a minute: headroom isn't served
		}
		if got := look()[e]; got.Queue != want || got.Depth != want {
			t.Errorf("entry %s holds %d of %d, want %d", entry.Name, got.Queue, got.Depth, want)
		}
	}
	local := len(gateway.Entries()) - 1
	demand[local] = 400 // that have arrived
	clock.Step(time.Second)
	if got := look()[local]; got.Queue != 105 || got.Depth != 300 { // (600 - (400 - 10)) / 2
		t.Errorf("with 390 that wait it holds %d of %d, want 105 of 300", got.Queue, got.Depth)
	}
	clock.Step(time.Minute)
	if got := look()[local]; got.Queue != 300 {
		t.Errorf("when none wait any more it holds %d, want 300", got.Queue)
	}
}

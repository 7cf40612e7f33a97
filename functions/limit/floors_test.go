package limit

import (
	"testing"
	"time"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// A demand that the autoscaler can't see is told in the RateLimit's status, until a
// time that moves on; another limiter begins with what was told.
func TestFloorIsTold(t *testing.T) {
	t.Parallel()
	l := rateLimit("m")
	l.Spec.Policy, l.Spec.HeadroomPercent = v1alpha1.PolicyDemand, 100
	b := newBench(t, 1, l)
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared}))
	b.until("the first limit", b.applied(20))
	if s := b.limit("m").Status; s.NeededUntil != nil || s.Revisions[0].Needed != 0 {
		t.Errorf("replicas are needed without a demand: %+v", s)
	}
	b.set(func() { b.offered = map[string][]float64{gateway.Shared: {75, 0, 0}} })
	b.Look()
	b.until("the replicas that 75/s need at 10/s each", func() bool {
		s := b.limit("m").Status
		return s.Needed("m-1", time.Now()) == 8
	})
	if got := told(b.limit("m"), "m-1", time.Now()); got.Replicas != 8 {
		t.Errorf("another limiter begins with a floor of %d", got.Replicas)
	}
	if got := told(b.limit("m"), "m-1", time.Now().Add(2*floorTold)); got.Replicas != 0 {
		t.Errorf("a floor of %d that was told too long ago", got.Replicas)
	}
}

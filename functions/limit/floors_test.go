package limit

import (
	"math/big"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
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

// What is told of a batch's floor is never taken for the demand's, which would outlast the
// batch: neither one's own nor another limiter's, which only bridges the time until batch has
// asked again.
func TestFloorOfABatchIsNoDemand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		told   int32
		first  bool // of a limiter that has just taken over
		batch  bool
		demand float64
		// at some seconds after the first pass, and later.
		at, later int32
	}{
		"one's own, while it runs":                {8, false, true, 25, 1, 1},
		"one's own, once it is over":              {8, false, false, 25, 0, 0},
		"another's, while it runs":                {8, true, true, 25, 8, 1},
		"another's, without a demand":             {8, true, true, 0, 8, 1},
		"another's of one, while it runs":         {1, true, true, 25, 1, 1},
		"another's of one, where it hasn't asked": {1, true, false, 25, 1, 0},
		"the demand's":                            {8, true, false, 75, 8, 8},
		"the demand's, which falls":               {8, true, false, 25, 8, 3},
	} {
		f, clock := New(), clocktesting.NewFakeClock(time.Unix(2_000_000_000, 0))
		f.Clock = clock
		if !tt.first {
			f.floors = map[revisionKey]capacity.Floor{}
		}
		l := demanding()
		f.divisions = map[string]division.Division{l.Spec.VirtualService: demanded(tt.demand)}
		until := metav1.NewTime(clock.Now().Add(floorTold))
		l.Status.NeededUntil, l.Status.Revisions = &until, []v1alpha1.RevisionCapacity{{Name: "m-1", Needed: tt.told}}
		there := tt.told
		for second := range int32(31) {
			of := []capacity.Replicas{{Revision: "m-1", Percent: 100, Desired: there, Ready: there, Initial: 1}}
			rule, err := ruleOf(l.Spec)
			if err != nil {
				t.Fatal(err)
			}
			p := plan{of: l, rule: rule, limit: big.NewRat(1000, 1), uncapped: big.NewRat(1000, 1), rows: rows(rule, of), batch: tt.batch}
			f.setFloors(&state{replicas: map[string][]capacity.Replicas{key(l): of}}, []plan{p})
			if got := p.rows[0].Needed; second == 5 && got != tt.at || second == 30 && got != tt.later {
				t.Errorf("%s: %d replicas are needed after %d s, want %d, later %d", name, got, second, tt.at, tt.later)
			}
			there = max(1, p.rows[0].Needed)
			clock.Step(time.Second)
		}
		if len(f.bridges) != 0 {
			t.Errorf("%s: %d bridges stand still", name, len(f.bridges))
		}
	}
}

package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func TestFloor(t *testing.T) {
	type step struct {
		name    string
		after   time.Duration
		demand  float64
		refused bool
		desired int32
		want    int32
	}
	tests := map[string][]step{
		"follows the demand": {
			{"none while all is admitted", 0, 15, false, 1, 0},
			{"nor for a single replica", time.Second, 9, true, 1, 0},
			{"at once when some is refused", time.Second, 35, true, 1, 4},
			{"that is settled", time.Second, 35, false, 4, 4},
			{"rises at once, refused or not", time.Second, 70, false, 4, 7},
			{"stays a while", time.Second, 45, false, 7, 7},
			{"falls", 6 * time.Second, 45, false, 7, 5},
			{"ends with the demand", 7 * time.Second, 8, false, 5, 0},
		},
		"gives way to the autoscaler": {
			{"called for", 0, 35, true, 1, 4},
			{"it wants more by itself", time.Second, 35, false, 6, 4},
			{"and goes on", 5 * time.Second, 35, false, 6, 0},
			{"without another", time.Second, 45, false, 6, 0},
		},
		"is within maxReplicas": {
			{"more than there can be", 0, 500, true, 1, 20},
			{"for as long as that is offered", 10 * time.Second, 500, true, 20, 20},
		},
		"comes back as soon as something is refused": {
			{"called for", 0, 35, true, 1, 4},
			{"it wants more by itself", 7 * time.Second, 35, false, 6, 0},
			{"not enough", time.Second, 130, true, 6, 13},
		},
	}
	rule := Rule{PerReplica: ratio(10, 1), Policy: v1alpha1.PolicyDemand, Headroom: ratio(1, 1)}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var floor Floor
			now := time.Unix(0, 0)
			for _, s := range steps {
				now = now.Add(s.after)
				floor = rule.Floor(floor, Replicas{Desired: s.desired, Max: 20}, s.demand, s.refused, now)
				if floor.Replicas != s.want {
					t.Errorf("%s: floor %d, want %d", s.name, floor.Replicas, s.want)
				}
			}
		})
	}
	if got := (Rule{PerReplica: ratio(10, 1), Policy: v1alpha1.PolicyReady}).Floor(Floor{}, Replicas{}, 100, true, time.Unix(0, 0)); got.Replicas != 0 {
		t.Errorf("policy Ready has a floor of %d", got.Replicas)
	}
}

// However high the demand, a floor is within maxReplicas or, without any, a few times
// what the autoscaler wants; and it is never one.
func TestFloorIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{PerReplica: ratio(rapid.Int64Range(1, 1000).Draw(t, "q"), 10), Policy: v1alpha1.PolicyDemand}
		s := Replicas{Desired: rapid.Int32Range(0, 100).Draw(t, "desired"), Max: rapid.Int32Range(0, 100).Draw(t, "max")}
		var floor Floor
		now := time.Unix(0, 0)
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "seconds")) * time.Second)
			floor = rule.Floor(floor, s, rapid.Float64Range(0, 1e12).Draw(t, "demand"), rapid.Bool().Draw(t, "refused"), now)
			most := s.Max
			if most == 0 {
				most = floorGrowth * max(1, s.Desired)
			}
			if floor.Replicas < 0 || floor.Replicas == 1 || floor.Replicas > most {
				t.Fatalf("a floor of %d for %+v", floor.Replicas, s)
			}
		}
	})
}

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

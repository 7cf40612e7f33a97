package capacity

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

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
		"leaves an autoscaler alone that wants more than what a cap lets through takes": {
			{"called for", 0, 50, true, 4, 5},
			{"it wants more by itself", time.Second, 50, true, 7, 5},
			{"and goes on", 6 * time.Second, 50, true, 7, 0},
			{"what is refused is the cap's", time.Second, 50, true, 7, 0},
			{"it wants less", time.Second, 50, true, 3, 5},
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
	rule := Rule{PerReplica: big.NewRat(10, 1), Policy: v1alpha1.PolicyDemand, Headroom: big.NewRat(1, 1)}
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
	if got := (Rule{PerReplica: big.NewRat(10, 1), Policy: v1alpha1.PolicyReady}).Floor(Floor{}, Replicas{}, 100, true, time.Unix(0, 0)); got.Replicas != 0 {
		t.Errorf("policy Ready has a floor of %d", got.Replicas)
	}
}

// However high the demand, a floor is within maxReplicas or, without any, a few times
// what the autoscaler wants; and it is never one.
func TestFloorIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{PerReplica: big.NewRat(rapid.Int64Range(1, 1000).Draw(t, "q"), 10), Policy: v1alpha1.PolicyDemand}
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

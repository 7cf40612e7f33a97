package capacity

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func demand(q int64) Rule {
	return Rule{PerReplica: big.NewRat(q, 1), Policy: v1alpha1.PolicyDemand, Headroom: big.NewRat(1, 1)}
}

func strict(q int64) Rule {
	return Rule{PerReplica: big.NewRat(q, 1), Policy: v1alpha1.PolicyReady, Headroom: big.NewRat(1, 1)}
}

func TestLimit(t *testing.T) {
	one := func(desired, ready, most int32) []Replicas {
		return []Replicas{{Revision: "a", Percent: 100, Desired: desired, Ready: ready, Initial: 1, Max: most}}
	}
	tests := []struct {
		name      string
		rule      Rule
		revisions []Replicas
		want      *big.Rat
	}{
		{"no route yet: one replica's worth", demand(50), nil, big.NewRat(50, 1)},
		{"at zero: what the first request starts, and headroom", demand(50), one(0, 0, 0), big.NewRat(100, 1)},
		{"at zero, strictly", strict(50), one(0, 0, 0), big.NewRat(50, 1)},
		{"at zero, with three to start", strict(50), []Replicas{{Percent: 100, Initial: 3}}, big.NewRat(150, 1)},
		{"steady", demand(50), one(2, 2, 10), big.NewRat(200, 1)},
		{"steady, strictly", strict(50), one(2, 2, 10), big.NewRat(100, 1)},
		{"scaling up counts what is on its way", demand(50), one(5, 2, 10), big.NewRat(500, 1)},
		{"scaling up, strictly, counts what is ready", strict(50), one(5, 2, 10), big.NewRat(100, 1)},
		{"scaling down counts what stays", demand(50), one(1, 4, 10), big.NewRat(100, 1)},
		{"scaling down, strictly, counts what stays", strict(50), one(1, 4, 10), big.NewRat(50, 1)},
		{"scaling down to zero", strict(50), one(0, 4, 10), big.NewRat(50, 1)},
		{"all there is", demand(50), one(10, 10, 10), big.NewRat(500, 1)},
		{"all there is wanted, some on its way: no headroom", demand(50), one(10, 3, 10), big.NewRat(500, 1)},
		{"one below all there is", demand(50), one(9, 9, 10), big.NewRat(900, 1)},
		{
			"a split is held to its tightest revision", strict(50),
			[]Replicas{{Percent: 90, Desired: 9, Ready: 9}, {Percent: 10, Desired: 2, Ready: 2}},
			big.NewRat(500, 1),
		},
		{
			"a revision without traffic does not count", strict(50),
			[]Replicas{{Percent: 100, Desired: 2, Ready: 2}, {Percent: 0, Desired: 0, Ready: 0}},
			big.NewRat(100, 1),
		},
		{
			"a full revision is held exactly while the other has headroom", demand(50),
			[]Replicas{{Percent: 50, Desired: 4, Ready: 4, Max: 4}, {Percent: 50, Desired: 4, Ready: 4, Max: 9}},
			big.NewRat(400, 1),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.rule.Limit(tt.revisions); got.Cmp(tt.want) != 0 {
				t.Errorf("Limit() = %s, want %s", got.RatString(), tt.want.RatString())
			}
		})
	}
}

func genReplicas(t *rapid.T) Replicas {
	return Replicas{
		Percent: rapid.Int32Range(1, 100).Draw(t, "percent"),
		Desired: rapid.Int32Range(0, 50).Draw(t, "desired"),
		Ready:   rapid.Int32Range(0, 50).Draw(t, "ready"),
		Initial: rapid.Int32Range(1, 5).Draw(t, "initial"),
		Max:     rapid.Int32Range(0, 60).Draw(t, "max"),
	}
}

// Whatever the split and the scale, no revision is admitted more than its
// capacity and the stated headroom, and one of them is admitted just that.
func TestLimitNeverExceedsAnyRevision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := demand(rapid.Int64Range(1, 1000).Draw(t, "q"))
		if rapid.Bool().Draw(t, "strict") {
			rule.Policy = v1alpha1.PolicyReady
		}
		revisions := rapid.SliceOfN(rapid.Custom(genReplicas), 1, 5).Draw(t, "revisions")
		limit := rule.Limit(revisions)
		if limit.Sign() <= 0 {
			t.Fatalf("limit %s would never wake the model", limit)
		}
		tight := false
		for _, r := range revisions {
			gets := new(big.Rat).Mul(limit, big.NewRat(int64(r.Percent), 100))
			switch gets.Cmp(rule.Admitted(r)) {
			case 1:
				t.Fatalf("%+v gets %s of %s", r, gets, rule.Admitted(r))
			case 0:
				tight = true
			}
		}
		if !tight {
			t.Fatalf("limit %s admits less than any revision could take", limit)
		}
	})
}

// Policy Ready never counts a replica that isn't ready or is about to go, and
// neither policy exceeds the capacity once no more replicas can be had.
func TestLimitFollowsReadyReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genReplicas(t)
		if n := strict(10).replicas(r); n > max(1, r.Initial, min(r.Ready, r.Desired)) {
			t.Fatalf("strict rule counts %d replicas of %+v", n, r)
		}
		if r.full() && r.Desired >= r.Ready && demand(10).Admitted(r).Cmp(big.NewRat(10*int64(r.Ready), 1)) != 0 {
			t.Fatalf("%+v is full and admits %s", r, demand(10).Admitted(r))
		}
	})
}

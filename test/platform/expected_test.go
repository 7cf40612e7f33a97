package platform

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func TestExpectedLimits(t *testing.T) {
	demand := Rule{PerReplica: 40, Policy: v1alpha1.PolicyDemand, Headroom: 1}
	ready := Rule{PerReplica: 40, Policy: v1alpha1.PolicyReady, Headroom: 1}
	one := func(desired, ready, maximum int32) []Replicas {
		return []Replicas{{Percent: 100, Desired: desired, Ready: ready, Initial: 1, Max: maximum}}
	}
	for _, c := range []struct {
		name string
		rule Rule
		of   []Replicas
		want float64
	}{
		{"nothing known", demand, nil, 40},
		{"at zero", demand, one(0, 0, 4), 80},
		{"at zero, three at once", demand, []Replicas{{Percent: 100, Initial: 3, Max: 4}}, 240},
		{"on the way up", demand, one(3, 1, 4), 240},
		{"settled", demand, one(3, 3, 4), 240},
		{"on the way down", demand, one(1, 3, 4), 80},
		{"to zero", demand, one(0, 1, 4), 80},
		{"all asked for", demand, one(4, 3, 4), 160},
		{"all there", demand, one(4, 4, 4), 160},
		{"from all", demand, one(2, 4, 4), 160},
		{"no bound", demand, one(9, 4, 0), 720},
		{"strict, up", ready, one(3, 1, 4), 40},
		{"strict, down", ready, one(1, 3, 4), 40},
		{"strict, at zero", ready, one(0, 0, 4), 40},
		{"split", ready, []Replicas{{Percent: 75, Desired: 3, Ready: 3}, {Percent: 25, Desired: 2, Ready: 2}}, 160},
		{"split by what is scarce", ready, []Replicas{{Percent: 50, Desired: 3, Ready: 3}, {Percent: 50, Desired: 1, Ready: 1}}, 80},
		{"without traffic", ready, []Replicas{{Percent: 100, Desired: 3, Ready: 3}, {Desired: 1, Ready: 1}}, 120},
	} {
		if got := c.rule.Limit(c.of); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The product's formula and the one here were written separately; they must not
// differ anywhere.
func TestTheProductComputesTheExpectedLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{
			PerReplica: float64(rapid.IntRange(1, 1000).Draw(t, "q")),
			Policy:     rapid.SampledFrom([]v1alpha1.LimitPolicy{v1alpha1.PolicyDemand, v1alpha1.PolicyReady}).Draw(t, "policy"),
			Headroom:   float64(rapid.IntRange(0, 10).Draw(t, "headroom")) / 2,
		}
		product := capacity.Rule{
			PerReplica: new(big.Rat).SetFloat64(rule.PerReplica),
			Policy:     rule.Policy,
			Headroom:   new(big.Rat).SetFloat64(rule.Headroom),
		}
		var of []Replicas
		var theirs []capacity.Replicas
		for range rapid.IntRange(0, 3).Draw(t, "revisions") {
			r := Replicas{
				Percent: rapid.Int32Range(0, 100).Draw(t, "percent"),
				Desired: rapid.Int32Range(0, 6).Draw(t, "desired"),
				Ready:   rapid.Int32Range(0, 6).Draw(t, "ready"),
				Initial: rapid.Int32Range(1, 3).Draw(t, "initial"),
				Max:     rapid.Int32Range(0, 6).Draw(t, "max"),
			}
			of = append(of, r)
			theirs = append(theirs, capacity.Replicas{Percent: r.Percent, Desired: r.Desired, Ready: r.Ready, Initial: r.Initial, Max: r.Max})
		}
		got, _ := product.Limit(theirs).Float64()
		if want := rule.Limit(of); !sameRate(got, want) {
			t.Fatalf("%+v of %+v: the product says %v, the design %v", rule, of, got, want)
		}
	})
}

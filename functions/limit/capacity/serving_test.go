package capacity

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestServing(t *testing.T) {
	for name, tt := range map[string]struct {
		revisions []Replicas
		want      int64
	}{
		"no route yet":                {nil, 0},
		"at zero":                     {[]Replicas{{Percent: 100, Initial: 3}}, 0},
		"none on their way":           {[]Replicas{{Percent: 100, Desired: 5, Ready: 2}}, 100},
		"none that are to go":         {[]Replicas{{Percent: 100, Desired: 1, Ready: 4}}, 50},
		"no headroom":                 {[]Replicas{{Percent: 100, Desired: 2, Ready: 2, Max: 10}}, 100},
		"the tightest of a split":     {[]Replicas{{Percent: 90, Desired: 9, Ready: 9}, {Percent: 10, Desired: 2, Ready: 2}}, 500},
		"a revision without replicas": {[]Replicas{{Percent: 90, Desired: 9, Ready: 9}, {Percent: 10, Desired: 1}}, 0},
		"one without requests":        {[]Replicas{{Percent: 100, Desired: 2, Ready: 2}, {Percent: 0}}, 100},
	} {
		if got := demand(50).Serving(tt.revisions); got.Cmp(big.NewRat(tt.want, 1)) != 0 {
			t.Errorf("%s: Serving() = %s, want %d", name, got.RatString(), tt.want)
		}
	}
}

// Nobody is promised more than the limit has.
func TestServingIsWithinTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := strict(rapid.Int64Range(1, 1000).Draw(t, "q"))
		revisions := rapid.SliceOfN(rapid.Custom(genReplicas), 1, 5).Draw(t, "revisions")
		if serving, limit := rule.Serving(revisions), rule.Limit(revisions); serving.Cmp(limit) > 0 || serving.Sign() < 0 {
			t.Fatalf("%s are served of a limit of %s", serving, limit)
		}
	})
}

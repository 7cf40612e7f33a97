package split

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func TestParts(t *testing.T) {
	life := []Change{{at(10), WarmUp}, {at(14), Ready}}
	some, half := Asked{Any: true}, Asked{Any: true, Marked: 1, Arrived: 2}
	for name, tt := range map[string]struct {
		from, to int64
		changes  []Change
		asked    Asked
		amount   v1alpha1.Amount
		want     v1alpha1.UsageParts
	}{
		"all of a life":                   {0, 20, life, some, 20000, v1alpha1.UsageParts{Total: 20000, ColdStart: 10000, WarmUp: 4000, Serving: 6000}},
		"nobody asked":                    {0, 20, life, Asked{}, 20000, v1alpha1.UsageParts{Total: 20000, ColdStart: 10000, WarmUp: 4000, Idle: 6000}},
		"half of it batch":                {14, 20, life, half, 600, v1alpha1.UsageParts{Total: 600, Serving: 300, Batch: 300}},
		"before anything came":            {0, 5, life, some, 7, v1alpha1.UsageParts{Total: 7, ColdStart: 7}},
		"no time at all":                  {12, 12, life, some, 7, v1alpha1.UsageParts{Total: 7, WarmUp: 7}},
		"no longer ready":                 {20, 30, append(slices.Clone(life), Change{at(25), ColdStart}), some, 10, v1alpha1.UsageParts{Total: 10, ColdStart: 5, Serving: 5}},
		"more marked than came":           {14, 20, life, Asked{Any: true, Marked: 3, Arrived: 1}, 9, v1alpha1.UsageParts{Total: 9, Batch: 9}},
		"a third that can't be":           {9, 12, life, some, 100, v1alpha1.UsageParts{Total: 100, ColdStart: 33, WarmUp: 67}},
		"nothing":                         {0, 20, life, some, 0, v1alpha1.UsageParts{}},
		"without any news of it":          {0, 20, nil, some, 5, v1alpha1.UsageParts{Total: 5, ColdStart: 5}},
		"a batch under way, none arrived": {14, 20, life, some, 5, v1alpha1.UsageParts{Total: 5, Serving: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Over(at(tt.from), at(tt.to), tt.changes, tt.asked).Of(tt.amount); got != tt.want {
				t.Errorf("parts %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Whatever a replica did, its parts make up the whole, and none is below 0.
func TestPartsMakeUpTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(0, 86400)
		from := day.Draw(t, "from")
		to := from + day.Draw(t, "lasts")
		times := rapid.SliceOfN(day, 0, 6).Draw(t, "changes")
		slices.Sort(times)
		changes := make([]Change, 0, len(times))
		for _, second := range times {
			changes = append(changes, Change{at(second), Phase(rapid.IntRange(int(ColdStart), int(Ready)).Draw(t, "phase"))})
		}
		asked := Asked{Any: rapid.Bool().Draw(t, "any"), Marked: rapid.Int64Range(0, 1<<40).Draw(t, "marked"), Arrived: rapid.Int64Range(0, 1<<40).Draw(t, "arrived")}
		amount := v1alpha1.Amount(rapid.Int64Range(0, 1<<55).Draw(t, "amount"))
		p := Over(at(from), at(to), changes, asked).Of(amount)
		if p.Total != amount || p.ColdStart+p.WarmUp+p.Serving+p.Batch+p.Idle != amount {
			t.Errorf("parts %+v don't make up %v", p, amount)
		}
		if min(p.ColdStart, p.WarmUp, p.Serving, p.Batch, p.Idle) < 0 {
			t.Errorf("a part of %+v is below 0", p)
		}
		if !asked.Any && p.Serving+p.Batch != 0 || asked.Any && p.Idle != 0 {
			t.Errorf("asked %v, parts %+v", asked.Any, p)
		}
	})
}

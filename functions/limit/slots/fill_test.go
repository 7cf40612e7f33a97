package slots

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func age(hours int) time.Time { return time.Unix(0, 0).Add(-time.Duration(hours) * time.Hour) }

func TestFill(t *testing.T) {
	tests := map[string]struct {
		room   int
		claims []Claim
		want   []Fit
	}{
		"nothing": {10, nil, []Fit{}},
		"all":     {10, []Claim{{Name: "a", Limit: 4}, {Name: "b", Limit: 3, Parts: 3}}, []Fit{Whole, Whole}},
		"the younger stay out": {10, []Claim{
			{Name: "a", Limit: 6, Since: age(1)}, {Name: "b", Limit: 6, Since: age(2)},
		}, []Fit{None, Whole}},
		"of one age the first by name": {10, []Claim{{Name: "b", Limit: 6}, {Name: "a", Limit: 6}}, []Fit{None, Whole}},
		"what is held stays, however young": {10, []Claim{
			{Name: "a", Limit: 6, Since: age(9)}, {Name: "b", Limit: 6, Since: age(1), Held: true},
		}, []Fit{None, Whole}},
		"limits before buckets of revisions": {10, []Claim{
			{Name: "a", Limit: 4, Parts: 5, Since: age(9), Held: true}, {Name: "b", Limit: 4, Since: age(1), Held: true},
		}, []Fit{LimitAlone, Whole}},
		"buckets that are held before what is new": {10, []Claim{
			{Name: "a", Limit: 4, Parts: 5, Held: true}, {Name: "b", Limit: 4, Since: age(9)},
		}, []Fit{Whole, None}},
		"what doesn't fit leaves room": {10, []Claim{
			{Name: "a", Limit: 12, Since: age(9)}, {Name: "b", Limit: 8},
		}, []Fit{None, Whole}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Fill(tt.room, tt.claims); !slices.Equal(got, tt.want) {
				t.Errorf("Fill() = %v, want %v", got, tt.want)
			}
		})
	}
}

// What is in a slot stays there, whoever comes, and the room is never exceeded.
func TestFillKeepsWhatIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(0, 100).Draw(t, "room")
		claims := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Claim {
			return Claim{Limit: rapid.IntRange(1, 20).Draw(t, "limit"), Since: age(rapid.IntRange(0, 9).Draw(t, "age"))}
		}), 0, 20).Draw(t, "claims")
		for i := range claims {
			claims[i].Name = fmt.Sprint(i)
		}
		fits, used := Fill(room, claims), 0
		for i, fit := range fits {
			if claims[i].Held = fit == Whole; claims[i].Held {
				used += claims[i].Limit
			}
		}
		if used > room {
			t.Fatalf("%d of %d bytes are given out", used, room)
		}
		older := Claim{Name: "older", Limit: rapid.IntRange(1, 20).Draw(t, "older"), Since: age(100), Parts: 5}
		for i, fit := range Fill(room, append(claims, older)) {
			if i < len(claims) && claims[i].Held && fit != Whole {
				t.Fatalf("claim %d lost its place", i)
			}
		}
	})
}

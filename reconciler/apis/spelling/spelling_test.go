package spelling

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	words := []string{"min-scale", "max-scale", "target", "window", "metric", "scale-down-delay"}
	for word, want := range map[string]string{
		"minscale": "min-scale", "min-replicas": "min-scale", "maxReplicas": "max-scale", "MIN_SCALE": "min-scale",
		"min-scael": "min-scale", "targets": "target", "windwo": "window", "scale-down-dely": "scale-down-delay",
		"colour": "", "x": "", "": "", "scale": "", "policy": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	word := rapid.StringMatching(`[a-d]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a)-len(b), len(b)-len(a)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
		if a != "" && distance(a, a[1:]) != 1 {
			t.Fatalf("one letter less than %q is not one away", a)
		}
	})
}

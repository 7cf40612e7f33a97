package resources

import (
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func wholly(t interface{ Fatal(args ...any) }, pattern, text string) bool {
	compiled, err := regexp.Compile("^(?:" + pattern + ")$") // as Envoy matches
	if err != nil {
		t.Fatal(err)
	}
	return compiled.MatchString(text)
}

func TestAllBut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ab.^\]-]{0,4}`)
		words := rapid.SliceOfN(name, 0, 5).Draw(t, "words")
		text := name.Draw(t, "text")
		if got, want := wholly(t, allBut(words), text), !slices.Contains(words, text); got != want {
			t.Errorf("%q of all but %q: got %v", text, words, got)
		}
		for _, word := range words {
			if wholly(t, allBut(words), word) {
				t.Errorf("%q is among %q", word, words)
			}
		}
	})
}

func TestRemovedHeaders(t *testing.T) {
	for name, want := range map[string]bool{
		"knative-serving-tag":           false,
		"k-network-probe":               false,
		"k-network-hash":                false,
		"knative-serving-ta":            true,
		"knative-serving-tags":          true,
		"knative-serving-revision":      true,
		"knative-serving-default-route": true,
		"k-serving-tag":                 true,
		"knative-network-probe":         true,
		"k-proxy-request":               true,
		"k-original-host":               true,
		"k-":                            true,
		"knative-":                      true,
		"sluice-warm-up":                true,
		"sluice-warm-ups":               false,
		"x-sluice-warm-up":              false,
		"knative":                       false,
		"kubernetes":                    false,
		"x-k-network":                   false,
		"host":                          false,
		":path":                         false,
	} {
		if got := wholly(t, removedHeaders(), name); got != want {
			t.Errorf("%s removed: %v, want %v", name, got, want)
		}
	}
}

package resources

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"knative.dev/networking/pkg/http/header"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// Knative's components believe each other's headers of these prefixes.
var knativePrefixes = []string{"k-", "knative-"}

// clientHeaders are the ones among them that Knative's contract for networking
// layers lets clients send: to choose a tag, and to probe.
var clientHeaders = []string{header.RouteTagKey, header.ProbeKey, header.HashKey}

// headerRemoval removes Knative's own headers from requests that come from outside
// the cluster, so that nobody there can speak as a component of Knative does, nor pass
// for a warm-up, which a model may answer otherwise than a caller.
// Within, its components do. The connection manager does it itself, before routing,
// which costs a request less than a filter of its own.
func headerRemoval() (*corev3.TypedExtensionConfig, error) {
	return extension("sluice.headers", &headermutationv3.HeaderMutation{
		Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
				KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
					SafeRegex: &matcherv3.RegexMatcher{Regex: removedHeaders()},
				}},
			}},
		}},
	})
}

// removedHeaders is a pattern of lower-case names: those that begin with one of
// Knative's prefixes, but for clientHeaders, and the one that marks a warm-up.
func removedHeaders() string {
	patterns := []string{regexp.QuoteMeta(strings.ToLower(warmup.MarkerHeader))}
	for _, prefix := range knativePrefixes {
		var kept []string
		for _, name := range clientHeaders {
			if rest, ok := strings.CutPrefix(strings.ToLower(name), prefix); ok {
				kept = append(kept, rest)
			}
		}
		patterns = append(patterns, regexp.QuoteMeta(prefix)+allBut(kept))
	}
	return strings.Join(patterns, "|")
}

// allBut is a pattern that matches, in whole, every string but the given words:
// what ends early, what departs from all of them at the first byte, and what
// begins like some of them but doesn't end so. RE2 has no look-ahead that would
// say it shorter. Words are ASCII.
func allBut(words []string) string {
	tails := map[byte][]string{}
	for _, word := range words {
		if word != "" {
			tails[word[0]] = append(tails[word[0]], word[1:])
		}
	}
	departs := ".+"
	var alternatives []string
	if len(tails) > 0 {
		var firsts strings.Builder
		for _, first := range slices.Sorted(maps.Keys(tails)) {
			fmt.Fprintf(&firsts, `\x%02x`, first)
			alternatives = append(alternatives, regexp.QuoteMeta(string(first))+allBut(tails[first]))
		}
		departs = "[^" + firsts.String() + "].*"
	}
	alternatives = append(alternatives, departs)
	if !slices.Contains(words, "") {
		alternatives = append(alternatives, "")
	}
	return "(?:" + strings.Join(alternatives, "|") + ")"
}

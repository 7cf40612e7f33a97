// Package spelling tells which of the words that there are was meant by one that there
// isn't. Pure functions.
package spelling

import "strings"

// same are words that people take for one another.
var same = strings.NewReplacer("-", "", "_", "", ".", "", " ", "", "replicas", "scale", "replica", "scale", "pods", "scale", "instances", "scale", "utilisation", "utilization", "percent", "percentage", "percentage", "percentage")

// longest is more than any name has.
const longest = 100

func folded(word string) string { return same.Replace(strings.ToLower(word)) }

// Nearest is the word that was meant, "" where none is near: at most a third of its letters,
// and not more than three, would be wrong, regardless of case, of dashes and of some words
// that people take for one another.
func Nearest(word string, words []string) string {
	if len(word) > longest {
		return ""
	}
	best, least := "", 4
	for _, candidate := range words {
		a, b := folded(word), folded(candidate)
		d := distance(a, b)
		if d < least && 3*d <= max(len(a), len(b)) {
			best, least = candidate, d
		}
	}
	return best
}

// NearestOf is the name of the object that was meant by one that none has, as Nearest has it. An
// object of that very name is none: it goes.
func NearestOf[T interface{ GetName() string }](name string, objects []T) string {
	var names []string
	for _, o := range objects {
		if o.GetName() != name {
			names = append(names, o.GetName())
		}
	}
	return Nearest(name, names)
}

// distance is how many letters have to be put in, taken out, replaced or swapped with their
// neighbours to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

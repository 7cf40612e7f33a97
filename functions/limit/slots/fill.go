package slots

import (
	"cmp"
	"slices"
	"time"
)

// Claim is what a limit asks of a slot.
type Claim struct {
	// Name tells limits of one age apart.
	Name string
	// Held is true if the limit is in the slot already, or was when it was last seen.
	Held bool
	// Since is how old the limit is.
	Since time.Time
	// Limit is what it takes, in bytes, and Parts what its revisions' own buckets do.
	Limit, Parts int
}

// Fit is how much of a claim there is room for.
type Fit int

const (
	// None is no room.
	None Fit = iota
	// LimitAlone is room for the limit, and not for its revisions' own buckets.
	LimitAlone
	// Whole is room for all of it.
	Whole
)

// Fill gives out a slot's room, in bytes, and returns how much of each claim fits. What
// is held has its place before what is new, limits before the buckets of revisions, and
// then who was first. A claim that doesn't fit leaves its room to smaller ones.
func Fill(room int, claims []Claim) []Fit {
	order := make([]int, len(claims))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := claims[i], claims[j]
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	fits := make([]Fit, len(claims))
	take := func(bytes int) bool {
		if bytes > room {
			return false
		}
		room -= bytes
		return true
	}
	for _, held := range []bool{true, false} {
		for _, i := range order {
			if claims[i].Held == held && take(claims[i].Limit) {
				fits[i] = LimitAlone
			}
		}
		for _, i := range order {
			if claims[i].Held == held && fits[i] == LimitAlone && take(claims[i].Parts) {
				fits[i] = Whole
			}
		}
	}
	return fits
}

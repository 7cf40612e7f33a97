package bounds

import (
	"cmp"
	"slices"
	"time"
)

// Counts are what a gateway pod has counted of a virtual service's requests since its start:
// of those that were let through and have ended.
type Counts struct {
	// Completed are all of them, Errors those that were answered with a status of 500 or
	// above.
	Completed, Errors float64
	// Timed are those whose duration is in the histogram, which is behind Completed by up to
	// the time between two flushes of Envoy's. Slow are those of them that are known to have
	// taken longer than the bound.
	Timed, Slow float64
	// Above is what each of the slow took longer than: the bound, or the next above it by
	// which a pod tells. It is 0 where no pod tells of durations.
	Above time.Duration
}

// since is what was counted after an earlier reading. Counters that fell were reset, and count
// from their new values on.
func (c Counts) since(before Counts) Counts {
	if c.Completed < before.Completed || c.Errors < before.Errors {
		before.Completed, before.Errors = 0, 0
	}
	if c.Timed < before.Timed || c.Slow < before.Slow {
		before.Timed, before.Slow = 0, 0
	}
	return Counts{
		Completed: c.Completed - before.Completed, Errors: c.Errors - before.Errors,
		Timed: c.Timed - before.Timed, Slow: c.Slow - before.Slow, Above: c.Above,
	}
}

// Plus is the sum of two. Pods whose buckets differ tell by different bounds: above the lower
// one are the slow of both.
func (c Counts) Plus(other Counts) Counts {
	above := min(c.Above, other.Above)
	if above == 0 {
		above = max(c.Above, other.Above)
	}
	return Counts{
		Completed: c.Completed + other.Completed, Errors: c.Errors + other.Errors,
		Timed: c.Timed + other.Timed, Slow: c.Slow + other.Slow, Above: above,
	}
}

// Bucket of a histogram: how many values are up to a bound, in milliseconds.
type Bucket struct{ UpTo, Count float64 }

// Slow is how many of a histogram's values are known to be above a bound in milliseconds, and
// what all of these are above: the upper bound of the bucket that it falls in, since of the values in
// there nobody knows on which side they are. Above the last finite bucket none are known to be, so
// that there is no such bound.
func Slow(buckets []Bucket, total, above float64) (slow, seen float64) {
	at, _ := slices.BinarySearchFunc(buckets, above, func(b Bucket, above float64) int { return cmp.Compare(b.UpTo, above) })
	if at == len(buckets) {
		return 0, 0
	}
	return max(0, total-buckets[at].Count), buckets[at].UpTo
}

package load

import (
	"math/bits"
	"time"
)

const (
	// subBuckets is how many buckets a doubling of the latency has: a quantile is
	// off by at most 1/(2*subBuckets) of itself, 1.6 %.
	subBuckets = 32
	// maxLatency is the largest that is told apart from larger ones, about 134 s.
	maxLatency = 1<<27 - 1
	// latencyBuckets cover 0 to maxLatency microseconds.
	latencyBuckets = (27-6)*subBuckets + 2*subBuckets
)

// latencies counts latencies in buckets of constant relative width, as an HDR
// histogram does: a fixed size, no allocation per request.
type latencies struct {
	counts [latencyBuckets]uint32
	total  int
}

// add counts one latency.
func (l *latencies) add(d time.Duration) {
	l.counts[latencyBucket(d)]++
	l.total++
}

// merge adds what another histogram counted.
func (l *latencies) merge(other *latencies) {
	for i, n := range other.counts {
		l.counts[i] += n
	}
	l.total += other.total
}

// quantile is the latency that the fraction q (0 to 1) of all did not exceed, by
// nearest rank; 0 when nothing was counted.
func (l *latencies) quantile(q float64) time.Duration {
	if l.total == 0 {
		return 0
	}
	rank := max(1, int(q*float64(l.total)+half))
	seen := 0
	for i, n := range l.counts {
		if seen += int(n); seen >= rank {
			return latencyOf(i)
		}
	}
	return maxLatency * time.Microsecond
}

// latencyBucket is the bucket of a latency: one microsecond wide below 64 µs,
// then subBuckets a doubling.
func latencyBucket(d time.Duration) int {
	us := uint64(min(max(0, d.Microseconds()), maxLatency))
	shift := max(0, bits.Len64(us)-6)
	return shift*subBuckets + int(us>>shift)
}

// latencyOf is the middle of a bucket.
func latencyOf(bucket int) time.Duration {
	shift := max(0, bucket/subBuckets-1)
	low := uint64(bucket-shift*subBuckets) << shift
	return time.Duration(low+(1<<shift)/2) * time.Microsecond
}

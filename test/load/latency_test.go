package load

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantiles(t *testing.T) {
	var l latencies
	if got := l.quantile(0.5); got != 0 {
		t.Errorf("median of nothing = %v, want 0", got)
	}
	for i := 1; i <= 100; i++ {
		l.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0: time.Millisecond, 1: 100 * time.Millisecond} {
		if got := l.quantile(q); math.Abs(float64(got-want)) > 0.016*float64(want) {
			t.Errorf("quantile %v = %v, want %v within 1.6 %%", q, got, want)
		}
	}
	var both latencies
	both.merge(&l)
	both.merge(&l)
	if both.total != 200 || both.quantile(0.5) != l.quantile(0.5) {
		t.Errorf("merged: %d with median %v, want 200 with %v", both.total, both.quantile(0.5), l.quantile(0.5))
	}
}

func TestLatencyBucketsAreNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(0, maxLatency).Draw(t, "us")
		bucket := latencyBucket(time.Duration(us) * time.Microsecond)
		if bucket < 0 || bucket >= latencyBuckets {
			t.Fatalf("%d µs: bucket %d of %d", us, bucket, latencyBuckets)
		}
		if got := latencyOf(bucket).Microseconds(); math.Abs(float64(got-us)) > 1.0/(2*subBuckets)*float64(us)+1 {
			t.Fatalf("%d µs is told as %d µs", us, got)
		}
	})
	for _, d := range []time.Duration{-time.Second, time.Hour} {
		if b := latencyBucket(d); b < 0 || b >= latencyBuckets {
			t.Errorf("%v: bucket %d of %d", d, b, latencyBuckets)
		}
	}
}

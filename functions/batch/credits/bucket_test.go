package credits

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(2_000_000_000, 0)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// sent is how many requests a bucket lets go between two times, looked at every 10 ms.
func sent(b *Bucket, from, until float64) int {
	n := 0
	for now := at(from); now.Before(at(until)); now = now.Add(10 * time.Millisecond) {
		for b.Take(now) {
			n++
		}
	}
	return n
}

func TestBucket(t *testing.T) {
	b := &Bucket{}
	if b.Take(start) || b.Lease() != 0 {
		t.Error("it has tokens without a lease")
	}
	b.Renew(Lease{Number: 7, Rate: 20, Burst: 2, DurationSeconds: 3}, at(0), at(.5))
	if b.Take(at(.5)) {
		t.Error("it doesn't begin empty")
	}
	if n := sent(b, .5, 1.5); n < 19 || n > 20 {
		t.Errorf("%d in a second, want 20", n)
	}
	if n := sent(b, 2.5, 2.51); n != 2 {
		t.Errorf("%d at once after a pause, want the burst", n)
	}
	b.Renew(Lease{Number: 6, Rate: 1000, Burst: 100, DurationSeconds: 3}, at(2.5), at(2.5))
	if n := sent(b, 2.5, 10); n > 11 || b.Lease() != 7 {
		t.Errorf("%d until it has ended, going by %d: want that of 3 s from when it was asked for", n, b.Lease())
	}
	b.Renew(Lease{Number: 8, Rate: 10, Burst: 1, DurationSeconds: 3}, at(20), at(20))
	if n := sent(b, 20, 20.01); n > 1 {
		t.Errorf("%d at once after a time without a lease", n)
	}
	b.Renew(Lease{Number: 9}, at(20), at(20))
	if n := sent(b, 20, 30); n != 0 {
		t.Errorf("%d with a lease of nothing", n)
	}
}

func TestBucketWaits(t *testing.T) {
	b := &Bucket{}
	if _, ok := b.Wait(start); ok {
		t.Error("there is something to wait for without a lease")
	}
	b.Renew(Lease{Number: 1, Rate: 4, Burst: 1, DurationSeconds: 3}, start, start)
	if wait, ok := b.Wait(start); !ok || wait != 250*time.Millisecond {
		t.Errorf("Wait() = %v, %t, want a quarter of a second", wait, ok)
	}
	if b.Take(start.Add(249*time.Millisecond)) || !b.Take(start.Add(250*time.Millisecond)) {
		t.Error("the token isn't there when it was said to be")
	}
	if _, ok := b.Wait(at(2.9)); ok == !b.Take(at(2.9)) {
		t.Error("Wait() and Take() don't agree")
	}
	if _, ok := b.Wait(at(2.95)); ok {
		t.Error("a token is promised for when the lease has ended")
	}
	b.Renew(Lease{Number: 2, Rate: 1e-300, Burst: 1, DurationSeconds: 3}, at(4), at(4))
	if wait, ok := b.Wait(at(4)); ok || wait < 0 {
		t.Errorf("Wait() = %v, %t at next to nothing", wait, ok)
	}
}

// Whatever leases come and in whichever order, what is sent in any time is within the
// greatest rate of it and the bursts.
func TestBucketIsWithinItsLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, now, most, sent := &Bucket{}, start, 0.0, 0
		bursts := 0.0
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			if rapid.Bool().Draw(t, "renew") {
				l := Lease{
					Number: rapid.Int64Range(1, 20).Draw(t, "number"), Rate: rapid.Float64Range(0, 50).Draw(t, "rate"),
					Burst: rapid.Int32Range(0, 5).Draw(t, "burst"), DurationSeconds: 3,
				}
				b.Renew(l, now.Add(-time.Duration(rapid.IntRange(0, 4000).Draw(t, "late"))*time.Millisecond), now)
				most, bursts = max(most, l.Rate), max(bursts, float64(l.Burst), 1)
			}
			for b.Take(now) {
				sent++
			}
		}
		if allowed := most*now.Sub(start).Seconds() + bursts; float64(sent) > allowed+1e-6 {
			t.Fatalf("%d sent, want at most %g", sent, allowed)
		}
	})
}

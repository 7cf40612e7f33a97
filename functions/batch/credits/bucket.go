package credits

import "time"

// whole is a token, but for what sums of its parts may lack.
const whole = 1 - 1e-9

// Bucket is what a worker sends by: a token bucket that fills at the rate of its newest
// lease, for as long as that lasts. It begins empty. A worker's clock is its own.
type Bucket struct {
	lease  Lease
	until  time.Time
	tokens float64
	filled time.Time
}

// Renew goes by a lease from now on, if it is the newest, that was asked for at a time.
func (b *Bucket) Renew(lease Lease, asked, now time.Time) {
	b.fill(now)
	if lease.Number <= b.lease.Number {
		return
	}
	b.lease, b.until = lease, asked.Add(time.Duration(lease.DurationSeconds*float64(time.Second)))
	b.tokens, b.filled = min(b.tokens, b.most()), now
}

// Lease is the number of the one that the worker goes by.
func (b *Bucket) Lease() int64 { return b.lease.Number }

// Rate is what may be sent at a time, in requests per second.
func (b *Bucket) Rate(now time.Time) float64 {
	if !now.Before(b.until) {
		return 0
	}
	return b.lease.Rate
}

// Take takes a token for a request, if there is one. No lease, no request.
func (b *Bucket) Take(now time.Time) bool {
	b.fill(now)
	if b.tokens < whole || !now.Before(b.until) {
		return false
	}
	b.tokens = max(0, b.tokens-1)
	return true
}

// Wait is how long it takes until there is a token; false if the lease ends before.
func (b *Bucket) Wait(now time.Time) (wait time.Duration, ok bool) {
	b.fill(now)
	if lacking := 1 - b.tokens; b.tokens < whole {
		if b.lease.Rate <= 0 || lacking/b.lease.Rate > b.lease.DurationSeconds {
			return 0, false
		}
		// What lacks so little that it rounds to no time at all would be asked for without a pause.
		wait = max(time.Microsecond, time.Duration(lacking/b.lease.Rate*float64(time.Second)))
	}
	return wait, now.Add(wait).Before(b.until)
}

// most is how many tokens it holds: one at least, or a slow one would never have any.
func (b *Bucket) most() float64 { return max(1, float64(b.lease.Burst)) }

// fill adds what came since it was last looked at, while the lease lasted.
func (b *Bucket) fill(now time.Time) {
	if until := b.until; until.Before(now) {
		now = until
	}
	if now.After(b.filled) {
		b.tokens = min(b.most(), b.tokens+b.lease.Rate*now.Sub(b.filled).Seconds())
		b.filled = now
	}
}

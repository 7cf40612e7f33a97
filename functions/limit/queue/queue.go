package queue

import (
	"math"
	"time"
)

// Most is how many requests may wait for a Model. The activator, where they do, has
// room for 10,000 of a revision, and answers others with 503.
const Most = 10_000

// Queue is what is known of the requests that wait for a Model.
type Queue struct {
	// arrived is the count of requests when it was last looked at.
	arrived float64
	at      time.Time
	waiting float64
}

// Next is the queue at a time by which so many requests have arrived in all, refused
// ones included, where replicas serve so many a second. It is what a leaky bucket holds
// that lets in no more than depth: what is above that was refused.
//
// It learns of what came since the last look only when it looks again. So what was let in
// meanwhile may be let in once more.
func (q Queue) Next(now time.Time, arrived, serves, depth float64) Queue {
	next := Queue{arrived: arrived, at: now}
	if q.at.IsZero() {
		return next // there is nothing to compare with
	}
	came := arrived - q.arrived
	if came < 0 { // they are counted anew
		came = arrived
	}
	next.waiting = min(max(0, q.waiting+came-serves*now.Sub(q.at).Seconds()), depth)
	return next
}

// Depth is how many requests replicas serve in the time that one may wait.
func Depth(serves float64, wait time.Duration) float64 { return min(serves*wait.Seconds(), Most) }

// Room is how many more than wait now may come at once at each of so many buckets, and
// how many if none waited.
func (q Queue) Room(depth float64, buckets int) (now, most uint32) {
	of := func(requests float64) uint32 { return uint32(math.Ceil(max(0, requests) / float64(buckets))) }
	return of(depth - q.waiting), of(depth)
}

package queue

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDepth(t *testing.T) {
	for _, tt := range []struct {
		serves float64
		wait   time.Duration
		want   float64
	}{
		{5, time.Minute, 300}, {0.1, time.Second, 0.1}, {1000, time.Minute, Most},
	} {
		if got := Depth(tt.serves, tt.wait); got != tt.want {
			t.Errorf("Depth(%v, %v) = %v, want %v", tt.serves, tt.wait, got, tt.want)
		}
	}
}

func TestQueue(t *testing.T) {
	var q Queue
	at := time.Unix(0, 0)
	look := func(after time.Duration, arrived float64, now, most uint32) {
		t.Helper()
		at = at.Add(after)
		q = q.Next(at, arrived, 5, 300)
		if gotNow, gotMost := q.Room(300, 2); gotNow != now || gotMost != most {
			t.Errorf("after %v and %v requests there is room for %d of %d at each pod, want %d of %d", after, arrived, gotNow, gotMost, now, most)
		}
	}
	look(0, 1000, 150, 150) // of a process that begins, which knows of none
	look(time.Second, 1205, 50, 150)
	look(20*time.Second, 1205, 100, 150)
	look(20*time.Second, 1205, 150, 150)
	look(time.Second, 2205, 0, 150) // most were refused
	look(time.Second, 30, 0, 150)   // a count that begins anew
	look(time.Minute, 0, 150, 150)
}

// Whenever and however often the bucket is written anew, which fills it with the room
// that there is, no more than two depths wait: one, and what came since the last look.
func TestRewritesLetInNoMoreThanTwoDepths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		serves := rapid.Float64Range(0.5, 50).Draw(t, "serves")
		depth := Depth(serves, rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "wait"))
		const step = 100 * time.Millisecond
		var q Queue
		now := time.Unix(0, 0)
		q = q.Next(now, 0, serves, depth)
		bucket, top, waiting, arrived := depth, depth, 0.0, 0.0
		sinceLook, rewritten := 0, false
		for range rapid.IntRange(10, 300).Draw(t, "steps") {
			now = now.Add(step)
			served := serves * step.Seconds()
			bucket, waiting = min(top, bucket+served), max(0, waiting-served)
			if came := rapid.Float64Range(0, depth).Draw(t, "came"); rapid.Bool().Draw(t, "comes") {
				in := min(bucket, came)
				arrived, bucket, waiting = arrived+came, bucket-in, waiting+in
			}
			if sinceLook++; sinceLook == 10 { // each second
				q, sinceLook, rewritten = q.Next(now, arrived, serves, depth), 0, false
			}
			if !rewritten && rapid.Bool().Draw(t, "rewritten") {
				room, _ := q.Room(depth, 1)
				bucket, top, rewritten = float64(room), float64(room), true
			}
			if waiting > 2*depth+2 {
				t.Fatalf("%v wait, of a depth of %v", waiting, depth)
			}
		}
	})
}

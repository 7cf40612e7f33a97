package account

import (
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// A restart is told by what a pod says of its Envoy; what is known of its container comes late.
func TestRestarts(t *testing.T) {
	read := Reading{UID: "a", Uptime: time.Minute, Offered: 10, Ended: []v1alpha1.RevisionRequests{{Revision: "m-1", UsageRequests: requests(10, 0, 0)}}}
	for name, tt := range map[string]struct {
		later  time.Duration
		change func(*Reading)
		want   int64
	}{
		"nothing new":                    {time.Second, func(r *Reading) { r.Uptime += time.Second }, 10},
		"a clock that was put forward":   {time.Hour, func(r *Reading) { r.Uptime += time.Second }, 10},
		"a clock that was put back":      {-time.Hour, func(r *Reading) { r.Uptime += time.Second }, 10},
		"news of a restart before":       {time.Second, func(r *Reading) { r.Uptime += time.Second; r.Restarts = 1 }, 10},
		"a restart":                      {20 * time.Second, func(r *Reading) { r.Uptime = 3 * time.Second }, 20},
		"a restart that counts less":     {20 * time.Second, func(r *Reading) { r.Ended[0].UsageRequests, r.Offered = requests(4, 0, 0), 4 }, 14},
		"one that nobody saw":            {time.Hour, func(r *Reading) { r.Uptime = 50 * time.Minute; r.Restarts = 1 }, 20},
		"late news of one that was seen": {2 * time.Second, func(r *Reading) { r.Uptime += 2 * time.Second; r.Restarts = 3 }, 10},
	} {
		t.Run(name, func(t *testing.T) {
			b := Open(&v1alpha1.UsageStatus{})
			b.Gateway(began, read)
			again := read
			again.Ended = []v1alpha1.RevisionRequests{read.Ended[0]}
			tt.change(&again)
			b.Gateway(began.Add(tt.later), again)
			b.Gateway(began.Add(tt.later), again)
			if got := b.Status().Day.Total.Requests.Ended; got != tt.want {
				t.Errorf("%d requests, want %d", got, tt.want)
			}
		})
	}
}

// What was under way at a pod that ended is said, and in no sum.
func TestWhatWasNotSeenIsSaid(t *testing.T) {
	ended := []v1alpha1.RevisionRequests{{Revision: "m-1", UsageRequests: requests(7, 0, 0)}}
	for name, tt := range map[string]struct {
		offered int64
		unread  time.Duration
		want    *v1alpha1.UsageUncertain
	}{
		"nothing under way": {7, 0, nil},
		"three under way":   {10, 0, &v1alpha1.UsageUncertain{GatewayPods: 1, Requests: 3}},
		"unread for long":   {7, time.Minute, &v1alpha1.UsageUncertain{GatewayPods: 1, UnreadSeconds: 60}},
	} {
		t.Run(name, func(t *testing.T) {
			b := Open(&v1alpha1.UsageStatus{})
			b.Gateway(began, Reading{UID: "a", Offered: tt.offered, Ended: ended})
			b.Close(began)
			if certain := b.Gone(began, "a", tt.unread); certain != (tt.want == nil) {
				t.Errorf("certain: %v", certain)
			}
			status := b.Close(began)
			if got := status.Day.Uncertain; fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("uncertain: %+v, want %+v", got, tt.want)
			}
			if status.Day.Total.Requests.Ended != 7 || len(status.Accounted.Gateways) != 0 {
				t.Errorf("status %+v", status)
			}
		})
	}
}

// What was counted before there was a ledger is nobody's usage.
func TestBaseline(t *testing.T) {
	b, e := Open(&v1alpha1.UsageStatus{}), start("a", began)
	e.count("m-1", requests(100, 5, 0), 3)
	b.Baseline(began, e.reading(began))
	if !b.Changed() {
		t.Error("a baseline isn't written")
	}
	b = Open(b.Close(began))
	e.count("m-1", requests(2, 1, 0), 1)
	b.Gateway(began, e.reading(began))
	if day := b.Status().Day; day.Total.Requests != requests(2, 1, 0) || day.BatchRequests != 1 {
		t.Errorf("day %+v", day)
	}
}

// A Model has one write a minute, none at rest, and one at once where what a pod counted goes with it.
func TestDue(t *testing.T) {
	b, e := Open(&v1alpha1.UsageStatus{}), start("a", began)
	due := func(what string, now time.Time, want bool) {
		t.Helper()
		if got := b.Due(now); got != want {
			t.Errorf("%s: due %v, want %v", what, got, want)
		}
	}
	due("at rest", began, false)
	e.count("m-1", requests(1, 0, 0), 0)
	b.Gateway(began, e.reading(began))
	due("first used", began, true)
	b.Close(began)
	b.Gateway(began.Add(time.Hour), e.reading(began.Add(time.Hour)))
	due("read without any news", began.Add(time.Hour), false)
	b.Close(began.Add(time.Hour))
	now := began.Add(time.Hour + 10*time.Second)
	e.count("m-1", requests(1, 0, 0), 0)
	b.Gateway(now, e.reading(now))
	due("used again soon", now, false)
	due("a minute later", began.Add(time.Hour+time.Minute), true)
	b.Ending("a")
	due("as the pod ends", now, true)
}

// While the Broker is away, events stay bounded and their sum what it is; one that it may have stays as it is.
func TestBrokerIsAway(t *testing.T) {
	b, e, now := newBooks(), start("a", began), began
	for i := range 3 * mostUnsent {
		now = now.Add(time.Minute)
		e.count("m-1", requests(1, 0, 0), 0)
		b.Gateway(now, e.reading(now))
		b.write(now)
		b.told[b.stored.Unsent[0].Minute.UTC()] = b.stored.Unsent[0] // sent, and not known to be
		if i == mostUnsent {
			b.crash()
		}
	}
	if n := len(b.stored.Unsent); n > maxUnsent+2 {
		t.Errorf("%d events wait", n)
	}
	b.send(t, true)
	sum := int64(0)
	for _, r := range b.told {
		sum += r.Total.Requests.Ended
	}
	if want := b.stored.Day.Total.Requests.Ended; sum != want || b.Dropped != 0 {
		t.Errorf("events sum up to %d with %d dropped, the day to %d", sum, b.Dropped, want)
	}
}

package account

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/usage/split"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// envoy is a gateway pod as it counts, with all that it counted over its restarts.
type envoy struct {
	uid             types.UID
	started         time.Time
	restarts        int32
	offered, marked int64
	ended           map[string]v1alpha1.UsageRequests
}

func (e *envoy) reading(now time.Time) Reading {
	r := Reading{UID: e.uid, Name: string(e.uid), Uptime: now.Sub(e.started).Truncate(time.Second), Restarts: e.restarts, Offered: e.offered, Marked: e.marked}
	for _, revision := range slices.Sorted(maps.Keys(e.ended)) {
		r.Ended = append(r.Ended, v1alpha1.RevisionRequests{Revision: revision, UsageRequests: e.ended[revision]})
	}
	return r
}

func (e *envoy) count(revision string, r v1alpha1.UsageRequests, marked int64) {
	e.offered += r.Ended
	e.marked += marked
	e.ended[revision] = e.ended[revision].Plus(r)
}

func start(uid types.UID, now time.Time) *envoy {
	return &envoy{uid: uid, started: now, ended: map[string]v1alpha1.UsageRequests{}}
}

func requests(ok, refused, failed int64) v1alpha1.UsageRequests {
	return v1alpha1.UsageRequests{Ended: ok + refused + failed, OK: ok, Refused: refused, ServerErrors: failed}
}

// books are the ledger, what the API server has of it, and what the Broker was told, each event once.
type books struct {
	*Book
	stored *v1alpha1.UsageStatus
	told   map[time.Time]v1alpha1.UsageReport
}

func newBooks() *books {
	return &books{Book: Open(&v1alpha1.UsageStatus{}), stored: &v1alpha1.UsageStatus{}, told: map[time.Time]v1alpha1.UsageReport{}}
}

// crash loses whatever wasn't written.
func (b *books) crash() { b.Book = Open(b.stored) }

func (b *books) write(now time.Time) { b.stored = b.Close(now) }

// send hands over what is written. A Broker that had it before has the same again.
func (b *books) send(t interface{ Errorf(string, ...any) }, noted bool) {
	for _, r := range b.stored.Unsent {
		if before, ok := b.told[r.Minute.UTC()]; ok && fmt.Sprint(before) != fmt.Sprint(r) {
			t.Errorf("the event of %s is another than before", r.Minute)
		}
		b.told[r.Minute.UTC()] = r
		if noted {
			b.Sent(r.Minute.Time)
		}
	}
}

func total(rows []v1alpha1.RevisionUsage) (sum v1alpha1.UsageSums) {
	for _, row := range rows {
		sum = sum.Plus(row.UsageSums)
	}
	return sum
}

// Whatever happens to gateways, to the ledger and to its clock, each request is counted once, by how it
// ended, and what the Broker is told makes up what the days say.
func TestRequestsAddUp(t *testing.T) { //nolint:gocyclo // one case for each thing that can happen
	rapid.Check(t, func(t *rapid.T) {
		now, b := began.Add(11*time.Hour+50*time.Minute), newBooks() // ten minutes before midnight
		pods := []*envoy{start("a", now), start("b", now)}
		var sum v1alpha1.UsageRequests
		var marks int64
		days := map[string]v1alpha1.UsageRequests{}
		readAll := func() {
			for _, e := range pods {
				b.Gateway(now, e.reading(now))
			}
		}
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 90_000).Draw(t, "later")) * time.Millisecond)
			at := rapid.IntRange(0, len(pods)-1).Draw(t, "pod")
			e := pods[at]
			switch rapid.SampledFrom([]string{"count", "count", "count", "read", "doubled", "write", "crash", "written and crash", "sent and crash", "restart", "end"}).Draw(t, "what") {
			case "count":
				r := requests(rapid.Int64Range(0, 9).Draw(t, "ok"), rapid.Int64Range(0, 9).Draw(t, "refused"), rapid.Int64Range(0, 9).Draw(t, "failed"))
				marked := rapid.Int64Range(0, r.Ended).Draw(t, "marked")
				e.count(fmt.Sprintf("m-%05d", rapid.IntRange(1, 14).Draw(t, "revision")), r, marked)
				sum, marks = sum.Plus(r), marks+marked
			case "read":
				b.Gateway(now, e.reading(now))
			case "doubled":
				readAll()
				readAll()
			case "write":
				readAll()
				b.write(now)
				b.send(t, true)
			case "crash":
				b.crash()
			case "written and crash":
				b.write(now)
				b.crash()
				b.send(t, true)
			case "sent and crash":
				b.write(now)
				b.send(t, false)
				b.crash()
			case "restart": // read last when nothing was under way, as a pod that ends is, and not just begun
				now = now.Add(2 * slack)
				b.Gateway(now, e.reading(now))
				b.write(now)
				again := start(e.uid, now.Add(time.Second))
				again.restarts = e.restarts + 1
				pods[at], now = again, now.Add(20*time.Second)
			case "end":
				b.Gateway(now, e.reading(now))
				if !b.Gone(now, e.uid, 0) {
					t.Errorf("a pod that was read to its end is uncertain")
				}
				b.write(now)
				pods[at] = start(types.UID(fmt.Sprint(e.uid, step)), now)
			}
			for _, day := range []*v1alpha1.UsageDay{b.stored.Previous, b.stored.Day} {
				if day != nil {
					days[day.Date] = day.Total.Requests
				}
			}
		}
		readAll()
		b.write(now)
		b.send(t, true)
		for _, day := range []*v1alpha1.UsageDay{b.stored.Previous, b.stored.Day} {
			if day == nil {
				continue
			}
			days[day.Date] = day.Total.Requests
			if rows := total(day.Revisions); rows.Requests != day.Total.Requests {
				t.Errorf("rows of %s sum up to %+v, its total is %+v", day.Date, rows.Requests, day.Total.Requests)
			}
			if len(day.Revisions) > maxRevisions+2 {
				t.Errorf("%s has %d rows", day.Date, len(day.Revisions))
			}
			if day.Uncertain != nil {
				t.Errorf("%s is uncertain: %+v", day.Date, day.Uncertain)
			}
		}
		var counted v1alpha1.UsageRequests
		for _, day := range days {
			counted = counted.Plus(day)
		}
		if counted != sum {
			t.Errorf("days sum up to %+v, gateways counted %+v", counted, sum)
		}
		sent, sentMarks := map[string]v1alpha1.UsageRequests{}, int64(0)
		for _, r := range b.told {
			sent[r.Date] = sent[r.Date].Plus(total(r.Revisions).Requests)
			sentMarks += r.BatchRequests
		}
		maps.DeleteFunc(days, func(_ string, r v1alpha1.UsageRequests) bool { return r == v1alpha1.UsageRequests{} })
		maps.DeleteFunc(sent, func(_ string, r v1alpha1.UsageRequests) bool { return r == v1alpha1.UsageRequests{} })
		if !maps.Equal(sent, days) || sentMarks != marks {
			t.Errorf("events sum up to %+v with %d marks, the days to %+v with %d", sent, sentMarks, days, marks)
		}
	})
}

// Whatever is read of replicas, and lost, their time adds up to that for which they were there, what
// they used to what their nodes counted, and parts to their wholes.
func TestReplicasAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, b := began, newBooks()
		r := Replica{UID: "p", Name: "p", Revision: "m-00001", Began: began, Devices: map[string]int64{"nvidia.com/gpu": 2}, Memory: 1 << 30}
		r.Changes = []split.Change{{At: began.Add(7 * time.Second), Phase: split.WarmUp}, {At: began.Add(9 * time.Second), Phase: split.Ready}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 50_000).Draw(t, "later")) * time.Millisecond)
			r.CPU += v1alpha1.Amount(rapid.Int64Range(0, 5000).Draw(t, "cpu"))
			switch rapid.SampledFrom([]string{"read", "read", "lost", "write", "crash"}).Draw(t, "what") {
			case "read":
				r.At = now
				b.Replicas(now, []Replica{r})
				b.Judged()
			case "write":
				b.write(now)
			case "crash":
				b.crash()
			}
		}
		r.At = now
		b.Replicas(now, []Replica{r})
		b.Ended(now, r, now)
		b.write(now)
		sum := b.stored.Day.Total
		lasted := v1alpha1.Amount(now.Sub(began).Milliseconds())
		if sum.ReplicaSeconds.Total != lasted || sum.CPUSeconds.Total != r.CPU || sum.Devices[0].Seconds.Total != 2*lasted {
			t.Errorf("%+v, want %v of time and %v of CPU", sum, lasted, r.CPU)
		}
		for _, p := range []v1alpha1.UsageParts{sum.ReplicaSeconds, sum.CPUSeconds, sum.MemoryGiBSeconds, sum.Devices[0].Seconds} {
			if p.ColdStart+p.WarmUp+p.Serving+p.Batch+p.Idle != p.Total {
				t.Errorf("parts %+v don't make up their whole", p)
			}
		}
		if len(b.stored.Accounted.Pods) != 0 {
			t.Errorf("accounts of pods that ended: %+v", b.stored.Accounted.Pods)
		}
		unread := int64(0)
		if b.stored.Day.Uncertain != nil {
			unread = b.stored.Day.Uncertain.UnreadSeconds
		}
		if missing := lasted - sum.MemoryGiBSeconds.Total; missing < 0 || missing > v1alpha1.Amount(unread+41)*1000 {
			t.Errorf("%v GiB-seconds of %v, %d s of them unread", sum.MemoryGiBSeconds.Total, lasted, unread)
		}
	})
}

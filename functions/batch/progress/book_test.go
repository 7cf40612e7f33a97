package progress

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var began = time.Unix(2_000_000_000, 0)

// told has a worker say each second for some time that it is answered so many requests more,
// of some items each, and returns when that was.
func told(b *Book, worker string, rate, perRequest float64, from time.Time, seconds int) time.Time {
	for i := 1; i <= seconds; i++ {
		requests := int64(rate * float64(i))
		items := int64(rate * float64(i) * perRequest)
		b.Note("run", Said{Worker: worker, Tally: Tally{Succeeded: items}, InFlight: 3, Requests: requests, Items: items}, from.Add(time.Duration(i)*time.Second))
	}
	return from.Add(time.Duration(seconds) * time.Second)
}

func TestRate(t *testing.T) {
	for name, tt := range map[string]struct {
		rate, perRequest float64
		seconds          int
	}{
		"fast":                          {100, 1, 30},
		"rows, 64 a request":            {10, 64, 30},
		"one request in 30 s":           {1. / 30, 1, 900},
		"before there are ten seconds":  {100, 1, 4},
		"ten requests take ten minutes": {1. / 60, 1, 1500},
	} {
		t.Run(name, func(t *testing.T) {
			b := New()
			now := told(b, "w", tt.rate, tt.perRequest, began, tt.seconds)
			far := b.Of("run", now)
			if !far.Heard || math.Abs(far.Requests/tt.rate-1) > .15 || math.Abs(far.Items/tt.rate/tt.perRequest-1) > .15 || far.InFlight != 3 {
				t.Errorf("of %g requests of %g items a second it says %+v", tt.rate, tt.perRequest, far)
			}
			if math.Abs(far.PerItem*tt.perRequest-1) > .15 {
				t.Errorf("%g requests an item, want %g", far.PerItem, 1/tt.perRequest)
			}
			items := far.Shards[0].Items()
			if far = b.Of("run", now.Add(heardFor)); far.Heard || !far.Works || far.Requests != 0 || far.Items != 0 || far.InFlight != 0 || far.Shards[0].Items() != items {
				t.Errorf("while nobody says anything it says %+v", far)
			}
			if far = b.Of("run", now.Add(workFor)); far.Works {
				t.Errorf("once nobody has said anything for long it says %+v", far)
			}
			b.Note("run", Said{Worker: "w", Tally: Tally{Succeeded: items}, Requests: 1e9, Items: 1e9}, now.Add(time.Hour))
			if far = b.Of("run", now.Add(time.Hour)); far.Requests != 0 || far.Items != 0 {
				t.Errorf("after a pause, of which nothing is known, it says %+v", far)
			}
		})
	}
}

// A rate goes down with the answers, and up again.
func TestRateFollows(t *testing.T) {
	b := New()
	now := told(b, "w", 100, 1, began, 30)
	for i, want := range map[int]float64{10: 0, 60: 0} {
		for s := range i {
			b.Note("run", Said{Worker: "w", Requests: 3000, Items: 3000}, now.Add(time.Duration(s+1)*time.Second))
		}
		if far := b.Of("run", now.Add(time.Duration(i)*time.Second)); far.Requests > want+100./float64(i) {
			t.Errorf("%d s after the last answer it says %g", i, far.Requests)
		}
		now = now.Add(time.Duration(i) * time.Second)
	}
}

func TestBounds(t *testing.T) {
	b := New()
	for _, shard := range []int32{-1, mostShards, math.MaxInt32} {
		b.Note("run", Said{Worker: "w", Shard: shard}, began)
	}
	if len(b.runs) != 0 {
		t.Errorf("shards that no plan has are known: %v", b.runs)
	}
	told(b, "w", 1, 1, began, 1000)
	if n := len(b.runs["run"].counter.marks); n > marksKept {
		t.Errorf("%d marks are kept", n)
	}
	b.Note("other", Said{Worker: "w"}, began)
	b.Keep(func(batch string) bool { return batch == "other" })
	if len(b.runs) != 1 || len(b.Of("run", began).Shards) != 0 {
		t.Errorf("what is over is known still: %v", b.runs)
	}
}

// What a worker says of its requests may be anything: it isn't believed that an item takes
// any number of them.
func TestPerItemIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		requests, items int64
		want            float64
	}{
		"one":                {100, 100, 1},
		"rows":               {10, 640, 1. / 64},
		"some asked again":   {250, 100, 2.5},
		"beyond belief":      {1e12, 1, mostPerItem},
		"all that there are": {math.MaxInt64, 1, mostPerItem},
		"none has a result":  {1e12, 0, 0},
	} {
		b := New()
		b.Note("run", Said{Worker: "w"}, began)
		b.Note("run", Said{Worker: "w", Requests: tt.requests, Items: tt.items}, began.Add(time.Second))
		if got := b.Of("run", began.Add(time.Second)).PerItem; math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %g requests an item, want %g", name, got, tt.want)
		}
	}
}

// truth is a shard as it is: a worker's items are in the output at the end of each part.
type truth struct {
	worker           int
	committed, asked int64
	requests, items  int64
	most             int64
}

// Whatever is killed, items never go back, are never more than were answered, and come to
// all that there are; and no rate is above what workers were answered.
func TestProgressIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const items, part, shards = 60, 20, 3
		b, now, before := New(), began, int64(0)
		all := make([]truth, shards)
		answered := []int64{0}
		for range rapid.IntRange(1, 80).Draw(t, "seconds") {
			now = now.Add(time.Second)
			sum, came := int64(0), int64(0)
			for i := range all {
				s := &all[i]
				switch rapid.IntRange(0, 9).Draw(t, "fate") {
				case 0: // killed: what isn't in the output is asked again
					s.worker++
					s.asked, s.requests, s.items = 0, 0, 0
				default:
					n := min(rapid.Int64Range(0, 6).Draw(t, "answers"), items-s.committed-s.asked)
					s.asked, s.requests, s.items, came = s.asked+n, s.requests+n, s.items+n, came+n
				}
				s.most = max(s.most, s.committed+s.asked)
				if s.asked >= part {
					s.committed, s.asked = s.committed+part, s.asked-part
				}
				sum += s.most
				b.Note("run", Said{
					Worker: fmt.Sprint(i, "-", s.worker), Shard: int32(i), Tally: Tally{Succeeded: s.committed + s.asked}, Requests: s.requests, Items: s.items,
				}, now)
			}
			answered = append(answered, answered[len(answered)-1]+came)
			far := b.Of("run", now)
			got := int64(0)
			for _, tally := range far.Shards {
				got += tally.Items()
			}
			if got != sum || got < before {
				t.Fatalf("it says %d items after %d, %d had a result", got, before, sum)
			}
			before = got
			most := 0.0
			for i := range answered {
				if took := len(answered) - 1 - i; took >= 2 {
					most = max(most, float64(answered[len(answered)-1]-answered[i])/float64(took))
				}
			}
			if far.Requests > most+1e-9 || far.Items > most+1e-9 {
				t.Fatalf("it says %g a second, and there were %g at most", far.Requests, most)
			}
			if far.Again < 0 || far.Again > shards*part {
				t.Fatalf("%d items are asked again", far.Again)
			}
		}
	})
}

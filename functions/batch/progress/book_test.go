package progress

import (
	"fmt"
	"math"
	"slices"
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

// mortal is a shard whose worker has looked into the output, or has yet to.
type mortal struct {
	truth
	knows bool
}

// second has its worker be killed, look into the output, or have some answers.
func (s *mortal) second(t *rapid.T, items, part int64) {
	switch fate := rapid.IntRange(0, 9).Draw(t, "fate"); {
	case s.committed == items:
	case fate == 0:
		s.truth, s.knows = truth{worker: s.worker + 1, committed: s.committed}, false
	case fate == 1 || !s.knows:
		s.knows = true
	default:
		n := min(rapid.Int64Range(0, 6).Draw(t, "answers"), items-s.committed-s.asked)
		s.asked, s.requests, s.items = s.asked+n, s.requests+n, s.items+n
	}
	if s.asked >= part || s.asked+s.committed == items {
		s.committed, s.asked = s.committed+min(part, s.asked), max(0, s.asked-part)
	}
}

// says is what its worker says.
func (s *mortal) says(shard int) Said {
	said := Said{Worker: fmt.Sprint(shard, "-", s.worker), Shard: int32(shard), Requests: s.requests, Items: s.items}
	if s.knows {
		said.Knows, said.Tally = true, Tally{Succeeded: s.committed + s.asked}
	}
	return said
}

// Whoever is told, and however often it begins anew, as what leases may, while workers are
// killed and shards are complete: as soon as all is known, what is left is what really is. What
// was told to one before and doesn't stand is neither taken for done nor counted twice.
func TestNothingIsForgottenByARestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const items, part, shards = 60, 20, 4
		b, now, done := New(), began, int64(0)
		all := make([]mortal, shards)
		for range rapid.IntRange(10, 80).Draw(t, "seconds") {
			now = now.Add(time.Second)
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				b = New()
			}
			ended, begun, stands := map[int32]Tally{}, []int32{}, int64(0)
			for i := range all {
				all[i].second(t, items, part)
				stands += all[i].committed + all[i].asked
				if begun = append(begun, int32(i)); all[i].committed == items {
					ended[int32(i)] = Tally{Succeeded: items}
				} else {
					b.Note("run", all[i].says(i), now)
				}
			}
			seen := rapid.Bool().Draw(t, "seen")
			if seen {
				b.See("run", ended, begun)
			}
			far, tells := b.Of("run", now), int64(0)
			for _, tally := range far.Shards {
				tells += tally.Items()
			}
			done = max(done, tells) // as a status has it, which never goes back
			if got := done - far.AskedAgain(done); seen && far.Whole && got != stands {
				t.Fatalf("%d items are taken for done, %d are", got, stands)
			}
			if known := !slices.ContainsFunc(all, func(s mortal) bool { return !s.knows }); seen && known && !far.Whole {
				t.Fatalf("each worker has looked into the output, and not all is known: %+v", far)
			}
		}
	})
}

// What others than workers see counts beside what they say, within what there may be, and what
// is complete stays so.
func TestSee(t *testing.T) {
	b := New()
	b.Note("run", Said{Worker: "liar", Tally: Tally{Succeeded: 1e9}}, began.Add(-time.Hour))
	b.See("run", map[int32]Tally{0: {Succeeded: 240, Failed: 10}, -1: {Failed: 1}, mostShards: {Failed: 1}, 3: {Failed: math.MaxInt64}, 4: {Succeeded: -1}}, []int32{0, 1})
	if far := b.Of("run", began); far.Whole || far.Stands != 250 || len(far.Shards) != 1 || far.Works || len(far.Failing) > 0 {
		t.Errorf("of a shard that is complete, beside one of which nothing is known: %+v", far)
	}
	say := func(worker string, shard int32, knows bool, failed int64) Far {
		b.Note("run", Said{Worker: worker, Shard: shard, Knows: knows, Tally: Tally{Succeeded: 50, Failed: failed}}, began)
		return b.Of("run", began)
	}
	if far := say("w", 1, false, 0); far.Whole {
		t.Errorf("one that has yet to look into the output says all: %+v", far)
	}
	if far := say("w", 1, true, 7); !far.Whole || far.Stands != 307 || far.Failing[1] != 7 || far.AskedAgain(320) != 13 || far.AskedAgain(300) != 0 {
		t.Errorf("all is known, and it says %+v", far)
	}
	if far := say("late", 0, true, 99); far.Stands != 307 || far.Shards[0] != (Tally{Succeeded: 240, Failed: 10}) {
		t.Errorf("a second worker of what is complete has it say %+v", far)
	}
	if far := b.Of("run", began.Add(heardFor)); len(far.Failing) > 0 || !far.Whole {
		t.Errorf("of workers that are silent it says %+v", far)
	}
}

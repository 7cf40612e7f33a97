package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/progress"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/limit/slack"
)

func TestNeed(t *testing.T) {
	far := progress.Far{Works: true, Shards: map[int32]progress.Tally{0: {Succeeded: 290, Failed: 10}, 1: {Succeeded: 100}}}
	run := Run{UID: "b-1", Model: "team/ranker", Items: 1000, PerRequest: 1, End: began.Add(time.Minute)}
	for name, tt := range map[string]struct {
		change func(*Run, *progress.Far)
		want   float64 // requests; 0 for no need
	}{
		"what is left":                              {func(*Run, *progress.Far) {}, 600},
		"no deadline":                               {func(r *Run, _ *progress.Far) { r.End = time.Time{} }, 0},
		"the deadline is over":                      {func(r *Run, _ *progress.Far) { r.End = began }, 0},
		"nobody is at work":                         {func(_ *Run, f *progress.Far) { f.Works = false }, 0},
		"its workers are on their way":              {func(r *Run, f *progress.Far) { r.Planned, f.Works = began.Add(-beginWithin/2), false }, 600},
		"its workers never came":                    {func(r *Run, f *progress.Far) { r.Planned, f.Works = began.Add(-beginWithin), false }, 0},
		"not counted yet":                           {func(r *Run, _ *progress.Far) { r.Items = 0 }, 0},
		"all is done":                               {func(r *Run, _ *progress.Far) { r.Items = 400 }, 0},
		"what was done before this function":        {func(r *Run, _ *progress.Far) { r.Done = 700 }, 300},
		"what is asked again":                       {func(_ *Run, f *progress.Far) { f.Again = 50 }, 650},
		"no more than there is":                     {func(_ *Run, f *progress.Far) { f.Again = 5000 }, 1000},
		"rows, of which none is known":              {func(r *Run, _ *progress.Far) { r.PerRequest = 64 }, 10},
		"rows, as many as there were in requests":   {func(r *Run, f *progress.Far) { r.PerRequest, f.PerItem = 64, .5 }, 300},
		"items that are asked more than once":       {func(_ *Run, f *progress.Far) { f.PerItem = 1.5 }, 900},
		"workers that tell of more than there were": {func(_ *Run, f *progress.Far) { f.Shards[1] = progress.Tally{Failed: 1e9} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, f := run, far
			f.Shards = map[int32]progress.Tally{0: far.Shards[0], 1: far.Shards[1]}
			tt.change(&r, &f)
			n, ok := r.Need(f, began)
			if got := n.RequestsPerSecond * n.Seconds; ok != (tt.want > 0) || math.Abs(got-tt.want) > 1e-6 {
				t.Errorf("%+v, %t: %g requests, want %g", n, ok, got, tt.want)
			}
		})
	}
}

// The limiter is told what is needed of Models that are asked for, by who ends first.
func TestQuestion(t *testing.T) {
	runs := []Run{
		{UID: "c", Model: "team/ranker", End: began.Add(3 * time.Hour)}, {UID: "a", Model: "team/ranker", End: began.Add(time.Hour)},
		{UID: "b", Model: "team/ranker"}, {UID: "d", Model: "team/idle", End: began.Add(time.Hour)},
	}
	needs := map[types.UID]slack.Need{"a": {RequestsPerSecond: 1}, "c": {RequestsPerSecond: 3}, "d": {RequestsPerSecond: 4}}
	got := question([]string{"team/bidder", "team/ranker"}, sets.New("team/ranker"), runs, needs)
	want := slack.Question{
		Models: []string{"team/bidder", "team/ranker"},
		Idle:   []string{"team/bidder"},
		Needs:  map[string][]slack.Need{"team/ranker": {{RequestsPerSecond: 1}, {RequestsPerSecond: 3}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// However many runs a namespace has, and however soon they end, what others need is told too,
// and of a Model no more than as many batches as there may be.
func TestQuestionOfManyRuns(t *testing.T) {
	var models []string
	var runs []Run
	needs := map[types.UID]slack.Need{}
	add := func(model string, n int, end time.Time) {
		models = append(models, model)
		for i := range n {
			uid := types.UID(fmt.Sprintf("%s-%d", model, i))
			runs = append(runs, Run{UID: uid, Model: model, End: end.Add(time.Duration(i) * time.Second)})
			needs[uid] = slack.Need{RequestsPerSecond: float64(i + 1), Seconds: 1}
		}
	}
	for m := range 2 * slack.MostNeeds / credits.BatchesOf {
		add(fmt.Sprintf("greedy/m-%03d", m), credits.BatchesOf+1, began)
	}
	add("late/ranker", credits.BatchesOf+1, began.Add(24*time.Hour))
	add("team/ranker", 3, began.Add(48*time.Hour))
	got, total := question(models, sets.New(models...), runs, needs), 0
	for model, needs := range got.Needs {
		total += len(needs)
		if !slices.IsSortedFunc(needs, func(a, b slack.Need) int { return cmp.Compare(a.RequestsPerSecond, b.RequestsPerSecond) }) {
			t.Errorf("of %s those that end first don't come first", model)
		}
	}
	if late, team := len(got.Needs["late/ranker"]), len(got.Needs["team/ranker"]); late != credits.BatchesOf || team != 3 || total != slack.MostNeeds {
		t.Errorf("%d needs are told, of them %d and %d of others", total, late, team)
	}
	if _, bad := got.Sound(); len(bad) > 0 || got.Check() != nil {
		t.Errorf("%v, %v", bad, got.Check())
	}
}

// Of a batch whose workers find no room nothing is known, and nothing is called for.
func TestNoRoomNoNeed(t *testing.T) {
	f, clock := newFunction()
	f.Model = func(string, string, types.UID) (string, error) { return "team/ranker", nil }
	var runs []Run
	f.Runs = func() ([]Run, error) { return runs, nil }
	var asked slack.Question
	f.Left = func(_ context.Context, q slack.Question) (map[string]slack.Slack, error) {
		asked = q
		return nil, nil
	}
	for i := range credits.BatchesOf + 1 {
		say, code := ask("w-0"), http.StatusOK
		say.UID, say.Succeeded = types.UID(fmt.Sprint("b-", i)), 5
		runs = append(runs, Run{UID: say.UID, Model: "team/ranker", Items: 1000, End: clock.Now().Add(time.Duration(200-i) * time.Minute)})
		if i == credits.BatchesOf {
			code = http.StatusTooManyRequests
		}
		if w, _ := sends(t, f, "team/w-0", say); w.Code != code {
			t.Fatalf("the ask of batch %d is answered with %d: %s", i, w.Code, w.Body)
		}
	}
	refused := runs[credits.BatchesOf].UID
	if err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if far := f.Progress(refused, task.Seen{}); far.Heard || len(far.Shards) > 0 {
		t.Errorf("of one that found no room it says %+v", far)
	}
	if n := len(asked.Needs["team/ranker"]); n != credits.BatchesOf {
		t.Errorf("%d batches need something, want those %d that found room", n, credits.BatchesOf)
	}
}

// What workers say is there for who asks, as long as the batch is, and calls for what its
// deadline needs, of which it has a part before others.
func TestProgress(t *testing.T) {
	f, clock := newFunction()
	runs := []Run{{UID: "b-1", Model: "team/ranker", Items: 1000, PerRequest: 1, End: clock.Now().Add(time.Minute)}}
	f.Runs = func() ([]Run, error) { return runs, nil }
	var asked slack.Question
	f.Left = func(_ context.Context, q slack.Question) (map[string]slack.Slack, error) {
		asked = q
		return map[string]slack.Slack{"team/ranker": {Rate: 30, Expires: clock.Now().Add(4 * time.Second)}}, nil
	}
	say := ask("w-0")
	for i := range int64(5) {
		clock.Step(time.Second)
		say.Succeeded, say.Failed, say.InFlight, say.Requests, say.Items = 90*i, 10*i, 7, 100*i, 100*i
		sends(t, f, "team/w-0", say)
		if err := f.fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := task.Progress{Heard: true, InFlight: 7, RequestsPerSecond: 100, ItemsPerSecond: 100, Shards: map[int32]task.Tally{0: {Succeeded: 360, Failed: 40}}, Failing: map[int32]int64{0: 40}}
	if got := f.Progress("b-1", task.Seen{}); !reflect.DeepEqual(got, want) {
		t.Errorf("it says %+v, want %+v", got, want)
	}
	if needs := asked.Needs["team/ranker"]; len(needs) != 1 || math.Abs(needs[0].RequestsPerSecond-600./55) > 1e-6 || math.Abs(needs[0].Seconds-55) > 1e-6 {
		t.Errorf("of 600 requests that are left in 55 s, the limiter is told %+v", needs)
	}
	runs = nil // over, or suspended
	if err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.Progress("b-1", task.Seen{}); len(got.Shards) > 0 || got.Heard {
		t.Errorf("of what is over it says %+v", got)
	}
	if len(asked.Needs) > 0 {
		t.Errorf("what is over needs %+v", asked.Needs)
	}
	f.Runs = func() ([]Run, error) { return nil, errors.New("no cache") }
	if err := f.fetch(t.Context()); err == nil {
		t.Error("it goes on without knowing what there is")
	}
}

// A function that is started again knows by the status what was told to the one before, and by
// what pods and workers say what of it still stands: what is asked again is left, and once.
func TestProgressAfterARestart(t *testing.T) {
	status := int64(0)
	seen := func() task.Seen {
		return task.Seen{Ended: map[int32]task.Tally{0: {Succeeded: 250}}, Begun: []int32{0, 1}, Done: status}
	}
	start := func(now time.Time) (*Function, *slack.Question) {
		f, clock := newFunction()
		clock.SetTime(now)
		q := &slack.Question{}
		f.Runs = func() ([]Run, error) {
			return []Run{{UID: "b-1", Model: "team/ranker", Items: 1000, PerRequest: 1, Done: status, End: began.Add(time.Hour)}}, nil
		}
		f.Left = func(_ context.Context, asked slack.Question) (map[string]slack.Slack, error) {
			*q = asked
			return nil, nil
		}
		return f, q
	}
	tell := func(f *Function, worker string, knows bool, items, own int64) task.Progress {
		say := ask(worker)
		say.Shard, say.Knows, say.Succeeded, say.Requests, say.Items = 1, knows, items, own, own
		sends(t, f, "team/"+worker, say)
		far, sum := f.Progress("b-1", seen()), int64(0)
		for _, tally := range far.Shards {
			sum += tally.Items()
		}
		status = max(status, sum)
		return far
	}
	needs := func(f *Function, q *slack.Question) float64 {
		if err := f.fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := q.Needs["team/ranker"]
		if len(n) != 1 {
			t.Fatalf("the limiter is asked %+v", q)
		}
		return math.Round(n[0].RequestsPerSecond * n[0].Seconds)
	}
	f, q := start(began)
	tell(f, "w-0", true, 100, 100) // of which 60 are in the output
	if got := needs(f, q); got != 650 || status != 350 {
		t.Fatalf("%g requests are left, want 650; %d items are done", got, status)
	}
	f, q = start(began.Add(time.Minute)) // and the worker was killed
	if far := tell(f, "w-1", false, 0, 0); far.Again != 0 {
		t.Errorf("before the next one knows what there is, %d are asked again", far.Again)
	}
	if got := needs(f, q); got != 650 {
		t.Errorf("%g requests are left by what is known, want 650", got)
	}
	for i, want := range []int64{40, 25, 0, 0} {
		items := 60 + []int64{0, 15, 40, 70}[i]
		if far := tell(f, "w-1", true, items, items-60); far.Again != want {
			t.Errorf("%d of the 100 are there again, and it says that %d are asked again", items, far.Again)
		}
		if got := needs(f, q); got != float64(1000-250-items) {
			t.Errorf("%d and 250 of 1000 are there, and %g requests are left", items, got)
		}
	}
	if status != 380 {
		t.Errorf("%d items are done, want 380", status)
	}
}

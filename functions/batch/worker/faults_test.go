package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob/memblob"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Whatever is in the middle of an input costs no other item anything: each has one record, in its
// place, and what can't be asked says where it is and why.
func TestBadLinesInTheMiddle(t *testing.T) {
	const bound = 40
	bad := map[int64]struct{ line, reason string }{
		1: {"{\"a\": ", "the line isn't JSON: unexpected end of JSON input"},
		3: {"\"" + strings.Repeat("x", bound) + "\"", "the line is longer than 40 bytes"},
		4: {"\"caf\xe9\"", "the line isn't UTF-8: byte 0xe9 at column 5"},
		6: {"\"a\x00b\"", "the line isn't JSON: invalid character '\\x00' in string literal at column 3"},
		8: {"\xff\xfe1\x00", "the line isn't UTF-8: byte 0xff at column 1"},
	}
	var lines []string
	for i := range int64(10) {
		if b, ok := bad[i]; ok {
			lines = append(lines, b.line)
			continue
		}
		lines = append(lines, fmt.Sprint(i))
	}
	r := newRun(t, lines...)
	r.task.Bounds.ItemBytes = bound
	var asked atomic.Int64
	tally, err := r.work(t.Context(), r.plan(), func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		scores(w, q)
	})
	if err != nil || tally != (output.Tally{Succeeded: 5, Failed: 5}) || asked.Load() != 5 {
		t.Errorf("%+v of %d requests, %v", tally, asked.Load(), err)
	}
	all, failed := r.results()
	if len(all) != len(lines) || len(failed) != len(bad) {
		t.Fatalf("%d records, %d of failures", len(all), len(failed))
	}
	for i, record := range all {
		b, ok := bad[int64(i)]
		switch {
		case !ok && string(record.Response) != fmt.Sprintf(`{"score":%d}`, i):
			t.Errorf("item %d has %s, %q", i, record.Response, record.Reason)
		case ok && (!strings.HasPrefix(record.Reason, b.reason) || record.Line != int64(i)+1 || record.Object != "in.jsonl"):
			t.Errorf("item %d, in line %d of %q, says %q", i, record.Line, record.Object, record.Reason)
		}
	}
}

// script is a Model that answers one after the other.
type script struct {
	answers []Answer
	asked   []time.Time
}

func (s *script) Ask(context.Context, Question) Answer {
	s.asked = append(s.asked, time.Now())
	return s.answers[min(len(s.asked), len(s.answers))-1]
}

// A Model that says when to come again is let alone for so long, and no longer than a minute
// however long it says: so one that is mistaken costs no item, and little time.
func TestPausesAreTheModels(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, tc := range map[string]struct {
		retryAfter  time.Duration
		least, most time.Duration
	}{
		"nothing":   {0, 0, time.Second},
		"seconds":   {7 * time.Second, 7 * time.Second, 7 * time.Second},
		"a minute":  {time.Minute, time.Minute, time.Minute},
		"an hour":   {time.Hour, time.Minute, time.Minute},
		"a year":    {year, time.Minute, time.Minute},
		"centuries": {1<<63 - 1, time.Minute, time.Minute},
	} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			synctest.Test(t, func(t *testing.T) {
				model := &script{answers: []Answer{{Status: status, RetryAfter: tc.retryAfter}, {Status: http.StatusOK}}}
				described := &task.Task{}
				described.SetDefaults()
				answer, v, err := (&Worker{Task: described, Asker: model, Gate: open{}}).ask(t.Context(), Question{})
				if err != nil || v != answered || answer.Status != http.StatusOK || len(model.asked) != 2 {
					t.Fatalf("%s, %d: %+v, %v after %d requests", name, status, answer, err, len(model.asked))
				}
				if paused := model.asked[1].Sub(model.asked[0]); paused < tc.least || paused > tc.most {
					t.Errorf("%s, %d: asked again after %s", name, status, paused)
				}
			})
		}
	}
}

// However long a Model was away, it is asked again soon, unless the run says to be slower.
func TestModelThatIsBackIsFoundSoon(t *testing.T) {
	for delay, most := range map[time.Duration]time.Duration{0: 3 * lookAgain / 2, 10 * time.Second: 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			model := &script{answers: slices.Repeat([]Answer{{Status: http.StatusServiceUnavailable}}, 30)}
			model.answers = append(model.answers, Answer{Status: http.StatusOK})
			described := &task.Task{}
			described.SetDefaults()
			if delay > 0 {
				described.Retry.MinBackoff = task.Duration(delay)
			}
			if _, v, err := (&Worker{Task: described, Asker: model, Gate: open{}}).ask(t.Context(), Question{}); err != nil || v != answered {
				t.Fatalf("%d, %v", v, err)
			}
			for i, at := range model.asked[1:] {
				if paused := at.Sub(model.asked[i]); paused > most {
					t.Errorf("asked again after %s where the first pause is %s, want at most %s", paused, delay, most)
				}
			}
		})
	}
}

// Many questions take turns at a Model that is away, each answer of which takes its time: the
// worker gives up when the Model has been away for as long as it waits, not when each has.
func TestModelThatStaysAwayIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		described := &task.Task{}
		described.SetDefaults()
		w := &Worker{Task: described, Asker: slowly{10 * time.Second}, Gate: &single{turn: make(chan struct{}, 1)}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began, ends := time.Now(), make(chan error, 32)
		for range cap(ends) {
			go func() {
				_, _, err := w.ask(ctx, Question{})
				ends <- err
			}()
		}
		err := <-ends
		if reason, _ := reasonOf(err); reason != task.ModelAway {
			t.Error(err)
		}
		if took := time.Since(began); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("given up after %s", took)
		}
		cancel()
		for range cap(ends) - 1 {
			if err := <-ends; err == nil {
				t.Error("a question was answered")
			}
		}
	})
}

// slowly says after a while that the Model is away.
type slowly struct{ takes time.Duration }

func (s slowly) Ask(ctx context.Context, _ Question) Answer {
	_ = sleep(ctx, s.takes)
	return Answer{Status: http.StatusServiceUnavailable}
}

// single lets one request through at a time.
type single struct{ turn chan struct{} }

func (s *single) Enter(ctx context.Context) (func(Answer, time.Duration), error) {
	select {
	case s.turn <- struct{}{}:
		return func(Answer, time.Duration) { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// One that says so for ever is asked for as long as a worker waits, not often, and no item has
// failed by it.
func TestAbsurdPausesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := &script{answers: []Answer{{Status: http.StatusServiceUnavailable, RetryAfter: 365 * 24 * time.Hour}}}
		described := &task.Task{}
		described.SetDefaults()
		began := time.Now()
		_, v, err := (&Worker{Task: described, Asker: model, Gate: open{}}).ask(t.Context(), Question{})
		if reason, final := reasonOf(err); v != lost || reason != task.ModelAway || final || !strings.Contains(err.Error(), "for 10m0s the Model has taken no request: 503 Service Unavailable") {
			t.Errorf("%d, %v", v, err)
		}
		if took := time.Since(began); took < 10*time.Minute || took > 11*time.Minute || len(model.asked) > 12 {
			t.Errorf("it was asked %d times in %s", len(model.asked), took)
		}
	})
}

// named answers with the item's number, after a while, and counts how often each is asked.
type named struct {
	takes time.Duration

	mu    sync.Mutex
	asked map[string]int
}

func (n *named) Ask(_ context.Context, question Question) Answer {
	time.Sleep(n.takes)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[question.Key]++
	_, item, _ := strings.Cut(question.Key, "-")
	_, item, _ = strings.Cut(item, "-")
	return Answer{Status: http.StatusOK, Body: []byte(item)}
}

// leaving is a store that is away for a while. What the first put of that time brings arrives, and
// nobody hears of it.
type leaving struct {
	objects.Store

	from, until time.Time
	unheard     atomic.Bool
}

var errAway = errors.New("dial tcp: connection refused")

func (l *leaving) away() error {
	if now := time.Now(); now.Before(l.from) || !now.Before(l.until) {
		return nil
	}
	return errAway
}

func (l *leaving) List(ctx context.Context, prefix, from string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		for object, err := range l.Store.List(ctx, prefix, from) {
			if gone := l.away(); gone != nil {
				object, err = objects.Object{}, gone
			}
			if !yield(object, err) || err != nil {
				return
			}
		}
	}
}

func (l *leaving) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := l.away(); err != nil {
		return nil, err
	}
	return l.Store.Open(ctx, key, offset)
}

func (l *leaving) Create(ctx context.Context, key string, content io.Reader) error {
	err := l.away()
	if err == nil {
		return l.Store.Create(ctx, key, content)
	}
	if l.unheard.CompareAndSwap(false, true) {
		_ = l.Store.Create(ctx, key, content) // nobody hears of this, either
	}
	return err
}

// whole runs a batch of so many items from its plan to its end.
func whole(ctx context.Context, described *task.Task, store objects.Store, asker Asker, folder string) (output.Tally, error) {
	source, to := input.New(store, described), output.New(store, described)
	p, err := Plan(ctx, described, source, to)
	if err != nil {
		return output.Tally{}, err
	}
	w := &Worker{Task: described, Source: source, Output: to, Asker: asker, Gate: open{}, Folder: folder}
	p.Shards = []plan.Shard{{To: len(p.Parts)}}
	return w.Run(ctx, p, 0)
}

func stored(ctx context.Context, items int) (objects.Store, error) {
	store := objects.NewBucket(memblob.OpenBucket(nil))
	return store, store.Create(ctx, "in.jsonl", strings.NewReader(strings.Repeat("1\n", items)))
}

func describe(uid string) *task.Task {
	t := &task.Task{Namespace: "team", Name: "batch-" + uid, UID: uid, Input: task.Input{Key: "in.jsonl"}, Output: task.Output{Prefix: "out"}}
	t.Bounds.PartItems, t.Bounds.Concurrency = 4, 2
	t.SetDefaults()
	return t
}

// Whenever a store is away for half a minute, planning, reading or putting: the run takes longer,
// no item is lost, none is there twice, and none is asked a second time.
func TestStoreThatIsAway(t *testing.T) {
	const items, awayFor = 40, 30 * time.Second
	for after := time.Duration(0); after < 25*time.Second; after += 1300 * time.Millisecond {
		folder := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			store, err := stored(t.Context(), items)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			model := &named{takes: time.Second, asked: map[string]int{}}
			tally, err := whole(t.Context(), describe("u-1"), &leaving{Store: store, from: begin.Add(after), until: begin.Add(after + awayFor)}, model, folder)
			if err != nil {
				t.Fatalf("away after %s: %v", after, err)
			}
			if took := time.Since(begin); took > time.Minute+awayFor {
				t.Errorf("away after %s, it took %s", after, took)
			}
			for key, times := range model.asked {
				if times != 1 {
					t.Errorf("away after %s, %s was asked %d times", after, key, times)
				}
			}
			checkRecords(t, store, items, []output.Tally{tally})
		})
	}
}

// One that stays away has the worker end, which is no end of the run; and what the next one finds
// is whole.
func TestStoreThatStaysAway(t *testing.T) {
	const items = 40
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := stored(t.Context(), items)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		model := &named{takes: time.Second, asked: map[string]int{}}
		_, err = whole(t.Context(), describe("u-1"), &leaving{Store: store, from: begin.Add(7 * time.Second), until: begin.Add(24 * time.Hour)}, model, folder)
		if reason, final := reasonOf(err); reason != task.StoreAway || final || !strings.Contains(err.Error(), errAway.Error()) {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(begin); took > 12*time.Minute {
			t.Errorf("it took %s to end", took)
		}
		tally, err := whole(t.Context(), describe("u-1"), store, model, folder)
		if err != nil {
			t.Fatal(err)
		}
		checkRecords(t, store, items, []output.Tally{tally})
	})
}

// picky takes every item but one.
type picky struct {
	named

	never string
}

func (p *picky) Ask(ctx context.Context, question Question) Answer {
	if question.Key == p.never {
		return Answer{Status: http.StatusServiceUnavailable}
	}
	return p.named.Ask(ctx, question)
}

// An item that the Model never takes, while it takes others, has failed.
func TestOneItemThatIsNeverTaken(t *testing.T) {
	const items = 4
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := stored(t.Context(), items)
		if err != nil {
			t.Fatal(err)
		}
		model := &picky{named: named{takes: 5 * time.Minute, asked: map[string]int{}}, never: "u-1-1"}
		tally, err := whole(t.Context(), describe("u-1"), store, model, folder)
		if err != nil || tally != (output.Tally{Succeeded: items - 1, Failed: 1}) {
			t.Errorf("%+v, %v", tally, err)
		}
		failed, err := records(t.Context(), store, "errors")
		if err != nil || len(failed) != 1 || failed[0].Item != 1 || failed[0].Status != http.StatusServiceUnavailable || failed[0].Reason != "503 Service Unavailable" {
			t.Errorf("errors are %+v, %v", failed, err)
		}
		checkRecords(t, store, items, []output.Tally{tally})
	})
}

// full is a store that has room for some objects.
type full struct {
	objects.Store

	room atomic.Int64
}

func (f *full) Create(ctx context.Context, key string, content io.Reader) error {
	if f.room.Add(-1) < 0 {
		return fmt.Errorf("putting %s: %w", key, objects.ErrFull)
	}
	return f.Store.Create(ctx, key, content)
}

// Wherever a store has no more room, the worker ends at once, and says so; once there is some, the
// next goes on behind what is there, and nothing is there twice.
func TestStoreThatIsFull(t *testing.T) {
	const items, parts = 12, 3
	for room := range int64(2 + 2*parts) {
		store, err := stored(t.Context(), items)
		if err != nil {
			t.Fatal(err)
		}
		f := &full{Store: store}
		f.room.Store(room)
		model := &named{asked: map[string]int{}}
		_, err = whole(t.Context(), describe("u-1"), f, model, t.TempDir())
		if reason, final := reasonOf(err); reason != task.DiskFull || final || !strings.Contains(err.Error(), "there is no room left") {
			t.Errorf("with room for %d objects it ended with %v", room, err)
		}
		f.room.Store(100)
		tally, err := whole(t.Context(), describe("u-1"), f, model, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		checkRecords(t, store, items, []output.Tally{tally})
	}
}

// Two runs of one output that begin at the same time: one has it, and the other has asked nothing
// and says whose it is.
func TestTwoRunsOfOneOutput(t *testing.T) {
	const items, rounds = 12, 20
	for round := range rounds {
		var store objects.Store
		var err error
		if store, err = stored(t.Context(), items); round == 0 {
			if store, err = objects.OpenFolder(t.TempDir(), "out"); err == nil {
				err = store.Create(t.Context(), "in.jsonl", strings.NewReader(strings.Repeat("1\n", items)))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		uids := []string{"u-1", "u-2"}
		models, tallies, errs := make([]*named, 2), make([]output.Tally, 2), make([]error, 2)
		var runs sync.WaitGroup
		begin := make(chan struct{})
		for i, uid := range uids {
			models[i] = &named{asked: map[string]int{}}
			folder := t.TempDir()
			runs.Go(func() {
				<-begin
				tallies[i], errs[i] = whole(t.Context(), describe(uid), store, models[i], folder)
			})
		}
		close(begin)
		runs.Wait()
		won, beaten := 0, 1
		if errs[0] != nil {
			won, beaten = 1, 0
		}
		if errs[won] != nil {
			t.Fatalf("none of them: %v, %v", errs[0], errs[1])
		}
		reason, final := reasonOf(errs[beaten])
		if reason != task.OutputInUse || !final || !strings.Contains(fmt.Sprint(errs[beaten]), "that of batch team/batch-"+uids[won]) || len(models[beaten].asked) > 0 {
			t.Errorf("the other asked %d times, and says %v", len(models[beaten].asked), errs[beaten])
		}
		checkRecords(t, store, items, tallies[won:won+1])
	}
}

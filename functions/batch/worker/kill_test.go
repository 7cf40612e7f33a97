package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// life is one of a worker's: it ends after some steps, each a thing that it asks of a store
// or of the Model, or just after one. From then on nothing that it does has an effect.
type life struct {
	end  context.CancelFunc
	left atomic.Int64
	over atomic.Bool
	// pause is the step at which it stands still until resume: so it comes back when others
	// have done its work.
	pause  int64
	resume <-chan struct{}
}

var errKilled = fmt.Errorf("killed: %w", context.Canceled)

func (l *life) step() error {
	left := l.left.Add(-1)
	if left == 0 {
		l.over.Store(true)
		l.end()
	}
	if l.over.Load() {
		return errKilled
	}
	if left == l.pause && l.resume != nil {
		<-l.resume
	}
	return nil
}

// mortal is the store as one life sees it.
type mortal struct {
	objects.Store
	*life
}

func (m mortal) List(ctx context.Context, prefix, from string) iter.Seq2[objects.Object, error] {
	if err := m.step(); err != nil {
		return func(yield func(objects.Object, error) bool) { yield(objects.Object{}, err) }
	}
	return m.Store.List(ctx, prefix, from)
}

func (m mortal) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	return m.Store.Open(ctx, key, offset)
}

// Create may end before, in the middle, and after.
func (m mortal) Create(ctx context.Context, key string, content io.Reader) error {
	if err := m.step(); err != nil {
		return err
	}
	if err := m.Store.Create(ctx, key, io.MultiReader(content, lastBreath{m.life})); err != nil {
		return err
	}
	return m.step()
}

type lastBreath struct{ *life }

func (l lastBreath) Read([]byte) (int, error) {
	if err := l.step(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// fickle is a Model that fails what it answers another time: so no two workers of a part
// have the same failures.
type fickle struct {
	*life

	mu     sync.Mutex
	random *rand.Rand
}

func (f *fickle) Ask(_ context.Context, question Question) Answer {
	if f.step() != nil {
		return Answer{Problem: "killed"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.IntN(3) == 0 {
		return Answer{Status: http.StatusBadRequest, Body: []byte("no")}
	}
	return Answer{Status: http.StatusOK, Body: []byte(question.Key[len("u-1-"):])}
}

// schedule is when a worker's lives end; the last one doesn't.
type schedule struct {
	lives []int64
	pause int64
	seed  uint64
}

func drawSchedule(t *rapid.T) schedule {
	return schedule{
		lives: rapid.SliceOfN(rapid.Int64Range(1, 60), 0, 8).Draw(t, "lives"),
		pause: rapid.Int64Range(1, 60).Draw(t, "pause"),
		seed:  rapid.Uint64().Draw(t, "seed"),
	}
}

// survive runs a worker through its lives, and returns what the last one says.
func (s schedule) survive(described *task.Task, store objects.Store, folder string, resume <-chan struct{}) (output.Tally, error) {
	random := rand.New(rand.NewPCG(s.seed, 0))
	for i := 0; ; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		l := &life{end: cancel, pause: s.pause, resume: resume}
		if l.left.Store(1 << 40); i < len(s.lives) {
			l.left.Store(s.lives[i])
		} else {
			l.pause = 1<<40 - s.pause
		}
		seen := mortal{store, l}
		source, to := input.New(seen, described), output.New(seen, described)
		tally, err := s.live(ctx, &Worker{
			Task: described, Source: source, Output: to, Asker: &fickle{life: l, random: random}, Gate: open{}, Folder: folder,
		}, to)
		cancel()
		if !l.over.Load() {
			return tally, err
		}
		if err == nil {
			// It was killed after the last thing that it had to do.
			continue
		}
		if !errors.Is(err, context.Canceled) {
			return tally, fmt.Errorf("killed, it says: %w", err)
		}
	}
}

func (s schedule) live(ctx context.Context, w *Worker, to *output.Output) (output.Tally, error) {
	p, err := Plan(ctx, w.Task, w.Source, to)
	if err != nil {
		return output.Tally{}, err
	}
	p.Shards = []plan.Shard{{To: len(p.Parts)}}
	return w.Run(ctx, p, 0)
}

// Whenever workers are killed, and however many work on one shard at once, one of them
// coming back when the others are done: each item has one record, in its place, and what has
// failed is among the errors, once.
func TestOneRecordOfEachItem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scratch, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(scratch)
		var store objects.Store = objects.NewBucket(memblob.OpenBucket(nil))
		// A folder waits for the disk, which a busy machine makes long.
		if rapid.IntRange(0, 4).Draw(rt, "folder") == 4 {
			if store, err = objects.OpenFolder(scratch, "out"); err != nil {
				rt.Fatal(err)
			}
		}
		described := &task.Task{UID: "u-1", Input: task.Input{Key: "in.jsonl"}, Output: task.Output{Prefix: "out"}}
		described.Retry.Patience = task.Duration(time.Second)
		described.Bounds.PartItems = rapid.Int64Range(1, 5).Draw(rt, "part")
		described.Bounds.Concurrency = rapid.IntRange(1, 4).Draw(rt, "concurrency")
		described.SetDefaults()
		items := rapid.IntRange(0, 30).Draw(rt, "items")
		if err := store.Create(rt.Context(), "in.jsonl", strings.NewReader(strings.Repeat("1\n", items))); err != nil {
			rt.Fatal(err)
		}

		schedules := []schedule{drawSchedule(rt), drawSchedule(rt), drawSchedule(rt)}
		tallies, errs := make([]output.Tally, len(schedules)), make([]error, len(schedules))
		first := make(chan struct{})
		var workers sync.WaitGroup
		for i, s := range schedules {
			workers.Go(func() {
				resume := first
				if i == 0 {
					defer close(first)
					resume = nil
				}
				tallies[i], errs[i] = s.survive(described, store, t.TempDir(), resume)
			})
		}
		workers.Wait()
		if err := errors.Join(errs...); err != nil {
			rt.Fatal(err)
		}
		checkRecords(rt, store, items, tallies)
	})
}

// failer is a test, or a round of one.
type failer interface {
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func checkRecords(t failer, store objects.Store, items int, tallies []output.Tally) {
	all, err := records(t.Context(), store, "results")
	if err != nil {
		t.Fatal(err)
	}
	repeated, err := records(t.Context(), store, "errors")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != items {
		t.Fatalf("%d records of %d items", len(all), items)
	}
	var want output.Tally
	var failed []int64
	for i, record := range all {
		if record.Item != int64(i) {
			t.Fatalf("record %d is of item %d", i, record.Item)
		}
		if got := string(record.Response); !record.Failed() && got != fmt.Sprint(i) {
			t.Fatalf("item %d has the answer to item %s", i, got)
		}
		if record.Failed() {
			failed = append(failed, record.Item)
		}
		want = want.Count(&record)
	}
	var among []int64
	for _, record := range repeated {
		among = append(among, record.Item)
	}
	if fmt.Sprint(failed) != fmt.Sprint(among) {
		t.Fatalf("items %d have failed, among the errors are %d", failed, among)
	}
	for i, tally := range tallies {
		if tally != want {
			t.Fatalf("worker %d says %+v, there are %+v", i, tally, want)
		}
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
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

// made is a source of items that are made when they are asked for.
type made struct {
	input.Source

	items int
	body  func() []byte
	// read are those that were.
	read int
}

func (m *made) Items(context.Context, plan.Position) iter.Seq2[*input.Item, error] {
	return func(yield func(*input.Item, error) bool) {
		for i := range m.items {
			m.read++
			body := m.body()
			item := &input.Item{Line: int64(i + 1), Size: int64(len(body)), Body: body, End: plan.Position{Object: "in", Line: int64(i + 1)}}
			if !yield(item, nil) {
				return
			}
		}
	}
}

// unlimited is an output that is only asked what it has room for.
type unlimited struct{ Output }

func (unlimited) Limit() output.Limit { return output.Limit{} }

// closed lets nothing through until it is opened.
type closed chan struct{}

func (c closed) Enter(ctx context.Context) (func(Answer, time.Duration), error) {
	select {
	case <-c:
		return func(Answer, time.Duration) {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asker is a function that answers.
type asker func(Question) Answer

func (a asker) Ask(_ context.Context, q Question) Answer { return a(q) }

// waiting is a worker before a gate that is closed, and what works on all items as one part.
func waiting(t *testing.T, from *made, format task.Format, held int64) (*Worker, closed, func() (*output.Spool, error)) {
	t.Helper()
	described := &task.Task{Format: format}
	described.SetDefaults()
	described.Request.Rows, described.Bounds.HeldBytes = 1000, held
	gate := make(closed)
	w := &Worker{
		Task: described, Source: from, Output: unlimited{}, Gate: gate, Folder: t.TempDir(),
		Asker: asker(func(Question) Answer { return Answer{Status: 400} }),
	}
	return w, gate, func() (*output.Spool, error) {
		reading := &reading{ctx: t.Context(), source: from}
		defer reading.close()
		return w.part(t.Context(), reading, plan.Part{Items: int64(from.items)}, plan.Position{Object: "in", Line: int64(from.items)})
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// Questions that wait for credit are held up to a bound by bytes, rows that are gathered among
// them; all are asked nevertheless, each once.
func TestHeldBytesAreBounded(t *testing.T) {
	const held, beside = 32 << 20, 16 << 20
	row := fmt.Sprintf(`{"inputs":[{"name":"x","shape":[1,%d],"data":[%s1]}]}`, 1<<19, strings.Repeat("1,", 1<<19-1))
	for _, tt := range []struct {
		name   string
		format task.Format
		items  int
		body   func() []byte
	}{
		{"lines of 4 MiB", task.Lines, 32, func() []byte { return make([]byte, 4<<20) }},
		{"rows of 1 MiB", task.Rows, 32, func() []byte { return []byte(row) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := &made{items: tt.items, body: tt.body}
				_, gate, part := waiting(t, from, tt.format, held)
				before := heap()
				done := make(chan error)
				go func() {
					spool, err := part()
					if err == nil {
						err = errors.Join(spool.Complete(), spool.Close())
					}
					done <- err
				}()
				synctest.Wait()
				if took := heap() - before; took > held+beside {
					t.Errorf("%d items that were read, of %d, take %d MiB", from.read, tt.items, took>>20)
				}
				close(gate)
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// An item that is larger than the bound is held alone.
func TestLargerThanTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &made{items: 8, body: func() []byte { return make([]byte, 4<<20) }}
		_, gate, part := waiting(t, from, task.Lines, 1<<20)
		done := make(chan error)
		go func() {
			spool, err := part()
			if err == nil {
				err = errors.Join(spool.Complete(), spool.Close())
			}
			done <- err
		}()
		synctest.Wait()
		if from.read != 2 {
			t.Errorf("%d items are read, want the one that waits, and the next", from.read)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// An answer that gives its room back isn't held while each item is asked about again.
func TestFreedAnswersAreNotHeld(t *testing.T) {
	const answer, rows = 8 << 20, 16
	from := &made{items: rows, body: func() []byte { return []byte(row(1)) }}
	w, gate, part := waiting(t, from, task.Rows, 64<<20)
	close(gate)
	before, most, asked := heap(), int64(0), 0
	w.Asker = asker(func(Question) Answer {
		asked++
		most = max(most, heap()-before)
		return Answer{Status: 400, Body: make([]byte, answer), release: func() {}}
	})
	spool, err := part()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spool.Close() }()
	if most > 3*answer || asked != 2*rows-1 {
		t.Errorf("asked %d times, %d MiB were held at most", asked, most>>20)
	}
}

// counted counts what it is asked to list.
type counted struct {
	objects.Store

	lists int
}

func (c *counted) List(ctx context.Context, prefix, from string) iter.Seq2[objects.Object, error] {
	if strings.HasPrefix(prefix, "in") {
		c.lists++
	}
	return c.Store.List(ctx, prefix, from)
}

// However many parts a worker works on, it lists the input once.
func TestTheInputIsListedOnce(t *testing.T) {
	r := newRun(t)
	store := &counted{Store: objects.NewBucket(memblob.OpenBucket(nil))}
	r.store = store
	r.task.Input = task.Input{Prefix: "in/"}
	for i := range 40 {
		r.put(fmt.Sprintf("in/%02d", i), "1\n2\n")
	}
	p := r.plan()
	if store.lists = 0; len(p.Parts) < 20 {
		t.Fatalf("there are %d parts", len(p.Parts))
	}
	tally, err := r.work(t.Context(), p, scores)
	if err != nil || tally.Succeeded != 80 || store.lists != 1 {
		t.Errorf("of %d parts: %+v, %v; listed %d times", len(p.Parts), tally, err, store.lists)
	}
	r.results()
}

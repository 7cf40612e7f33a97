package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

func described(name, uid string) *task.Task {
	t := &task.Task{Namespace: "team", Name: name, UID: uid, Output: task.Output{Prefix: "out/nightly"}}
	t.Retry.Patience = task.Duration(100 * time.Millisecond)
	t.SetDefaults()
	return t
}

func memory() objects.Store { return objects.NewBucket(memblob.OpenBucket(nil)) }

func reasonOf(err error) string {
	failure := &task.ReasonedError{}
	if !errors.As(err, &failure) {
		return fmt.Sprint(err)
	}
	return fmt.Sprint(failure.Reason, " ", failure.Final)
}

func TestClaim(t *testing.T) {
	store := memory()
	for range 2 {
		if err := New(store, described("nightly", "u-1")).Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	err := New(store, described("weekly", "u-2")).Claim(t.Context())
	if got := reasonOf(err); got != "OutputInUse true" || !strings.Contains(fmt.Sprint(err), "batch team/nightly (uid u-1)") {
		t.Errorf("another batch: %v", err)
	}
	// The same name again is another batch.
	if got := reasonOf(New(store, described("nightly", "u-3")).Claim(t.Context())); got != "OutputInUse true" {
		t.Errorf("a batch that is created anew: %s", got)
	}
}

// wrong is a store that is away, or full, or replaces what it has.
type wrong struct {
	objects.Store

	create func(content io.Reader) error
}

func (w wrong) Create(_ context.Context, _ string, content io.Reader) error { return w.create(content) }

func TestWhatStoresSay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		create func(io.Reader) error
		want   string
	}{
		{"replaces", func(io.Reader) error { return nil }, "OutputUnsafe true"},
		{"away", func(io.Reader) error { return errors.New("connection refused") }, "StoreAway false"},
		{"can't keep it", func(io.Reader) error { return fmt.Errorf("%w: %w", objects.ErrUnsafe, syscall.EPERM) }, "OutputUnsafe true"},
		{"refuses", func(io.Reader) error { return objects.ErrRefused }, "StoreRefused true"},
		{"no bucket", func(io.Reader) error { return objects.ErrMissing }, "OutputMissing true"},
		{"full", func(io.Reader) error { return fmt.Errorf("%w: %w", objects.ErrFull, syscall.ENOSPC) }, "DiskFull false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := reasonOf(New(wrong{memory(), tc.create}, described("nightly", "u-1")).Claim(t.Context())); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestPlanIsKept(t *testing.T) {
	o := New(memory(), described("nightly", "u-1"))
	if kept, err := o.Plan(t.Context()); kept != nil || err != nil {
		t.Errorf("before there is one: %+v, %v", kept, err)
	}
	first := &plan.Plan{Items: 3, Parts: []plan.Part{{Items: 3, Bytes: 9}}, Shards: []plan.Shard{{To: 1}}, End: plan.Position{Object: "o", Offset: 9, Line: 4}}
	for _, p := range []*plan.Plan{first, {Items: 5}} {
		kept, err := o.SavePlan(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, kept); diff != "" {
			t.Error("kept (-want, +got):", diff)
		}
	}
}

// spooled are records of a part, of which some have failed.
func spooled(t *testing.T, part plan.Part, failed ...int64) *Spool {
	t.Helper()
	spool, err := NewSpool(t.TempDir(), part, 1<<20, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spool.Close() })
	// They come in any order.
	for i := part.Items - 1; i >= 0; i-- {
		record := &Record{Item: part.First + i, Status: 200, Response: []byte("1")}
		for _, number := range failed {
			if number == record.Item {
				record.Reason, record.Response = "no", nil
			}
		}
		if err := spool.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	return spool
}

// Of two workers of a part the first wins, and the errors are those of its results; what was
// left between the two is settled by who comes next.
func TestCommit(t *testing.T) {
	parts := []plan.Part{{First: 0, Items: 3}, {First: 3, Items: 2}, {First: 5, Items: 1}, {First: 6, Items: 1}}
	store := memory()
	o := New(store, described("nightly", "u-1"))
	for _, tc := range []struct {
		spool *Spool
		want  Tally
	}{
		{spooled(t, parts[0], 1), Tally{2, 1}},
		{spooled(t, parts[0], 0, 2), Tally{2, 1}},
		{spooled(t, parts[1]), Tally{2, 0}},
	} {
		got, err := o.Commit(t.Context(), tc.spool)
		if err != nil || got != tc.want {
			t.Errorf("committed %+v, %v; want %+v", got, err, tc.want)
		}
	}
	killed := "{\"item\":6,\"reason\":\"no\"}\n"
	if err := store.Create(t.Context(), "out/nightly/results/000000000006.jsonl", strings.NewReader(killed)); err != nil {
		t.Fatal(err)
	}
	settled, err := o.Settled(t.Context(), 0, parts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int64]Tally{0: {2, 1}, 3: {2, 0}, 6: {0, 1}}, settled); diff != "" {
		t.Error("settled (-want, +got):", diff)
	}
	for name, want := range map[string]string{
		"results/000000000000": "{\"item\":0,\"status\":200,\"response\":1}\n{\"item\":1,\"status\":200,\"reason\":\"no\"}\n{\"item\":2,\"status\":200,\"response\":1}\n",
		"errors/000000000000":  "{\"item\":1,\"status\":200,\"reason\":\"no\"}\n",
		"errors/000000000003":  "",
		"errors/000000000006":  killed,
	} {
		opened, err := store.Open(t.Context(), "out/nightly/"+name+".jsonl", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(opened); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
		opened.Close()
	}
	// A shard's own parts are all that it looks at.
	if some, err := o.Settled(t.Context(), 0, parts[1:3]); err != nil || len(some) != 1 {
		t.Errorf("of two parts there are %v, %v", some, err)
	}
}

// A pod's disk that is full ends the worker, and not the run: another one may have room.
func TestSpoolOnAFullDisk(t *testing.T) {
	disk, err := os.OpenFile("/dev/full", os.O_RDWR, 0) // no byte has room there
	if err != nil {
		t.Fatal(err)
	}
	spool := &Spool{part: plan.Part{Items: 1}, bound: 100, file: disk, kept: make([]extent, 1)}
	defer func() { _ = spool.Close() }()
	err = spool.Add(&Record{Item: 0})
	if got := reasonOf(err); got != "DiskFull false" || !strings.Contains(err.Error(), "keeping the record of item 0") {
		t.Errorf("%s: %v", got, err)
	}
	if spool.Tally() != (Tally{}) || spool.Complete() == nil {
		t.Errorf("what wasn't kept counts: %+v", spool.Tally())
	}
}

func TestSpool(t *testing.T) {
	part := plan.Part{First: 10, Items: 2}
	spool, err := NewSpool(t.TempDir(), part, 100, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spool.Close() }()
	for _, tc := range []struct {
		record Record
		want   string
	}{
		{Record{Item: 9}, "isn't of the part"},
		{Record{Item: 12}, "isn't of the part"},
		{Record{Item: 11}, ""},
		{Record{Item: 11}, "has a record already"},
		{Record{Item: 10, Reason: strings.Repeat("x", 100)}, "take more than 100 bytes, of which a pod keeps no more; raise spec.resources.limits[ephemeral-storage]"},
	} {
		if err := spool.Add(&tc.record); (err == nil) != (tc.want == "") || !strings.Contains(fmt.Sprint(err), tc.want) && err != nil {
			t.Errorf("adding %+v: %v, want %q", tc.record, err, tc.want)
		}
	}
	if _, err := New(memory(), described("nightly", "u-1")).Commit(t.Context(), spool); err == nil || !strings.Contains(err.Error(), "item 10 has no record") {
		t.Errorf("committing a part without an item: %v", err)
	}
	if _, err := NewSpool("/nowhere", part, 100, Limit{}); err == nil {
		t.Error("there is a spool nowhere")
	}
}

package input

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gocloud.dev/blob/memblob"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

type fataler interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

// read is what a test sees of an item.
type read struct {
	Object, Body, Problem string
	Line                  int64
	End                   plan.Position
}

func all(t fataler, s Source, from plan.Position) (items []read) {
	t.Helper()
	for item, err := range s.Items(t.Context(), from) {
		if err != nil {
			t.Fatal(err)
		}
		if err := item.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		items = append(items, read{item.Object, string(item.Body), item.Problem, item.Line, item.End})
	}
	return items
}

// stored is a source of some objects.
func stored(t fataler, in task.Input, format task.Format, bound int64, of map[string]string) Source {
	t.Helper()
	store := objects.NewBucket(memblob.OpenBucket(nil))
	for key, content := range of {
		if err := store.Create(t.Context(), key, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	described := &task.Task{Input: in, Format: format}
	described.Bounds.ItemBytes = bound
	described.SetDefaults()
	return New(store, described)
}

func TestLines(t *testing.T) {
	const bound = 20
	for _, tc := range []struct {
		name, content string
		// bodies and problems, each after the number of its line.
		want []string
	}{
		{"as it should be", "{\"a\":1}\n[2]\n", []string{`1 {"a":1}`, `2 [2]`}},
		{"no end of the last line", "1\n2", []string{"1 1", "2 2"}},
		{"CRLF", "1\r\n\"\\r\"\r\n", []string{"1 1", `2 "\r"`}},
		{"empty lines", "\n1\n\n \t\n\r\n2\n\n", []string{"2 1", "6 2"}},
		{"nothing", "", nil},
		{"nothing but empty lines", "\n\n", nil},
		{"a broken line", "1\n{\"a\":\n3\n", []string{"1 1", "2 the line isn't JSON: unexpected end of JSON input at column 5", "3 3"}},
		{"no JSON", "yes\n", []string{"1 the line isn't JSON: invalid character 'y' looking for beginning of value at column 1"}},
		{"two values", "1 2\n", []string{"1 the line isn't JSON: invalid character '2' after top-level value at column 3"}},
		{"not UTF-8", "\"\xe9t\xe9\"\n2\n", []string{"1 the line isn't UTF-8: byte 0xe9 at column 2", "2 2"}},
		{"NULs", "1\n\"a\x00b\"\n\x00\n2\n", []string{
			"1 1", "2 the line isn't JSON: invalid character '\\x00' in string literal at column 3",
			"3 the line isn't JSON: invalid character '\\x00' looking for beginning of value at column 1", "4 2",
		}},
		{"the mark of UTF-8 in the middle", "1\n\xef\xbb\xbf2\n3\n", []string{
			"1 1", "2 the line isn't JSON: invalid character 'ï' looking for beginning of value at column 1", "3 3",
		}},
		{"the mark of UTF-8", "\xef\xbb\xbf1\n2\n", []string{"1 1", "2 2"}},
		{"the longest", "\"" + strings.Repeat("x", bound-2) + "\"\r\n2\n", []string{`1 "` + strings.Repeat("x", bound-2) + `"`, "2 2"}},
		{"too long", "\"" + strings.Repeat("x", bound-1) + "\"\n2\n", []string{"1 the line is longer than 20 bytes", "2 2"}},
		{"much too long", strings.Repeat("x", 300_000) + "\n2", []string{"1 the line is longer than 20 bytes", "2 2"}},
		{"too long at the end", "1\n" + strings.Repeat("x", 300_000), []string{"1 1", "2 the line is longer than 20 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, item := range all(t, stored(t, task.Input{Key: "o"}, task.Lines, bound, map[string]string{"o": tc.content}), plan.Position{}) {
				got = append(got, fmt.Sprint(item.Line, " ", item.Body+item.Problem))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error("(-want, +got):", diff)
			}
		})
	}
}

func reasonOf(err error) string {
	failure := &task.ReasonedError{}
	if !errors.As(err, &failure) {
		return fmt.Sprint(err)
	}
	return failure.Reason
}

// What can't be lines ends the run before anything is asked, by its first bytes, and says what it
// is and what is to be done; each line of it would fail by itself.
func TestWhatCannotBeRead(t *testing.T) {
	noLines := strings.Repeat("x", 200)
	for name, tc := range map[string]struct{ content, says string }{
		"UTF-16, little end first":    {"\xff\xfe1\x00\n\x00", "in/2 is UTF-16; lines are read as UTF-8; convert it"},
		"UTF-16, big end first":       {"\xfe\xff\x001\x00\n", "is UTF-16"},
		"UTF-16 without a mark":       {"{\x00}\x00\n\x00", "UTF-16"},
		"UTF-16, big, without a mark": {"\x00{\x00}\x00\n", "UTF-16"},
		"UTF-32":                      {"\xff\xfe\x00\x001\x00\x00\x00", "is UTF-32"},
		"UTF-32 without a mark":       {"\x00\x00\x001", "UTF-32"},
		"NULs":                        {"\x00", "there is a NUL among its first bytes"},
		"gzip'd":                      {gzipped(t, "1\n2\n"), "in/2 is compressed with gzip; lines are read as they are stored; decompress it"},
		"gzip'd, of no lines":         {gzipped(t, "") + noLines, "is compressed with gzip"},
		"zstd":                        {"\x28\xb5\x2f\xfd" + noLines, "is compressed with zstd"},
		"a zip":                       {"PK\x03\x04" + noLines, "unpack it"},
		"Parquet":                     {"PAR1" + noLines, "in/2 is a Parquet file; lines are requests in JSON; export it as those"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored(t, task.Input{Prefix: "in/"}, task.Lines, 100, map[string]string{"in/1": "1\n", "in/2": tc.content, "in/3": "1\n"})
			items, last := 0, error(nil)
			for item, err := range s.Items(t.Context(), plan.Position{}) {
				if last = err; item != nil {
					items++
				}
			}
			failure := &task.ReasonedError{}
			if !errors.As(last, &failure) || failure.Reason != task.InputUnreadable || !failure.Final || !strings.Contains(last.Error(), tc.says) {
				t.Errorf("got %v", last)
			}
			if items != 1 {
				t.Errorf("there are %d items before it", items)
			}
		})
	}
	var last error
	for _, err := range stored(t, task.Input{Key: "in"}, task.Lines, 100, map[string]string{"in/1": "1"}).Items(t.Context(), plan.Position{}) {
		last = err
	}
	if reasonOf(last) != task.InputMissing || !strings.Contains(last.Error(), "in: isn't there") {
		t.Errorf("no object: %v", last)
	}
	if got := all(t, stored(t, task.Input{Prefix: "none/"}, task.Lines, 100, nil), plan.Position{}); len(got) > 0 {
		t.Errorf("an empty prefix has %v", got)
	}
}

func gzipped(t *testing.T, content string) string {
	t.Helper()
	var out strings.Builder
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestObjects(t *testing.T) {
	s := stored(t, task.Input{Prefix: "in/"}, task.Objects, 5, map[string]string{
		"in/a.json": "1", "in/b.png": "\x89PNG", "in/c": "too long", "in/d": "", "out": "no",
	})
	got := all(t, s, plan.Position{})
	want := []read{
		{Object: "in/a.json", Body: "1", End: plan.Position{Object: "in/a.json", Offset: 1}},
		{Object: "in/b.png", Body: "\x89PNG", End: plan.Position{Object: "in/b.png", Offset: 4}},
		{Object: "in/c", Problem: "the object is longer than 5 bytes", End: plan.Position{Object: "in/c", Offset: 8}},
		{Object: "in/d", End: plan.Position{Object: "in/d"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want, +got):", diff)
	}
	for i, item := range got {
		if diff := cmp.Diff(want[i+1:], all(t, s, item.End), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("from %s on (-want, +got): %s", item.End, diff)
		}
	}
}

// From the end of any item on, what is read is what followed it: over one object and over
// many, empty ones among them.
func TestReopening(t *testing.T) {
	line := rapid.OneOf(
		rapid.SampledFrom([]string{"", " ", "1", "\"é\"", "{", "\xff", "null", strings.Repeat("7", 50), strings.Repeat("x", 100_000)}),
		rapid.StringN(0, 10, 20),
	)
	end := rapid.SampledFrom([]string{"\n", "\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		of := map[string]string{"other": "1\n"}
		for i := range rapid.IntRange(0, 4).Draw(t, "objects") {
			content := &strings.Builder{}
			for range rapid.IntRange(0, 8).Draw(t, "lines") {
				content.WriteString(line.Draw(t, "line") + end.Draw(t, "end"))
			}
			content.WriteString(line.Draw(t, "last"))
			of[fmt.Sprintf("in/%d", i)] = content.String()
		}
		for key, content := range of {
			if recognize(key, bufio.NewReader(strings.NewReader(content))) != nil {
				of[key] = "12" + content
			}
		}
		s := stored(t, task.Input{Prefix: "in/"}, task.Lines, 40, of)
		items := all(t, s, plan.Position{})
		for i, item := range items {
			if item.Object == "other" {
				t.Fatal("another object is read")
			}
			rest := all(t, s, item.End)
			if diff := cmp.Diff(items[i+1:], rest, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("from %+v on (-want, +got): %s", item.End, diff)
			}
		}
	})
}

// breaking is a store whose listings break off after some objects.
type breaking struct {
	objects.Reader

	after int
}

func (b breaking) List(ctx context.Context, prefix, from string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		listed := 0
		for object, err := range b.Reader.List(ctx, prefix, from) {
			if listed++; listed > b.after {
				yield(objects.Object{}, errors.New("connection reset"))
				return
			}
			if !yield(object, err) {
				return
			}
		}
	}
}

// A listing that breaks off now and then goes on for as long as what is done with its objects
// takes: that isn't time in which the store is away.
func TestListingGoesOn(t *testing.T) {
	const count = 40
	store := objects.NewBucket(memblob.OpenBucket(nil))
	for i := range count {
		if err := store.Create(t.Context(), fmt.Sprintf("in/%02d", i), strings.NewReader("1\n")); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		described := &task.Task{Input: task.Input{Prefix: "in/"}}
		described.SetDefaults()
		items := 0
		for _, err := range New(breaking{store, 5}, described).Items(t.Context(), plan.Position{}) {
			if err != nil {
				t.Fatalf("after %d items: %v", items, err)
			}
			items++
			time.Sleep(5 * time.Minute)
		}
		if items != count {
			t.Errorf("%d items", items)
		}
	})
}

// long is an object of one long line, and one after it.
type long struct{ size int64 }

func (l long) List(context.Context, string, string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) { yield(objects.Object{Key: "long", Size: -1}, nil) }
}

func (l long) Open(_ context.Context, _ string, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(io.LimitReader(xs{}, l.size-offset), strings.NewReader("\n1\n"))), nil
}

type xs struct{}

func (xs) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = 'x'
	}
	return len(into), nil
}

// A line may be of any length: what is over the bound isn't kept.
func TestMemoryIsBounded(t *testing.T) {
	const size = 256 << 20
	described := &task.Task{Input: task.Input{Key: "long"}}
	described.SetDefaults()
	described.Bounds.ItemBytes = 1 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	items := all(t, New(long{size}, described), plan.Position{})
	runtime.ReadMemStats(&after)
	if len(items) != 2 || items[0].Problem != "the line is longer than 1048576 bytes" || items[1].Body != "1" {
		t.Errorf("read %+v", items)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("a line of %d bytes took %d bytes", size, took)
	}
}

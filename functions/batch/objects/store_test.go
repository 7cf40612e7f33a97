package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"gocloud.dev/blob/memblob"
	"pgregory.net/rapid"
)

// realStores are opened beside those that need nothing, by name: real_test.go has some.
var realStores = map[string]func(t *testing.T) Store{}

// each runs a test of what all stores have in common.
func each(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("bucket", func(t *testing.T) { test(t, NewBucket(memblob.OpenBucket(nil))) })
	t.Run("folder", func(t *testing.T) { test(t, folder(t)) })
	for name, open := range realStores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func folder(t *testing.T) *Folder {
	t.Helper()
	s, err := OpenFolder(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content(t *testing.T, s Reader, key string, offset int64) string {
	t.Helper()
	opened, err := s.Open(t.Context(), key, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	read, err := io.ReadAll(opened)
	if err != nil {
		t.Fatal(err)
	}
	return string(read)
}

func create(t *testing.T, s Store, key, content string) {
	t.Helper()
	if err := s.Create(t.Context(), key, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func keys(ctx context.Context, s Reader, prefix, from string) (listed []string, err error) {
	for object, err := range s.List(ctx, prefix, from) {
		if err != nil {
			return nil, err
		}
		listed = append(listed, object.Key)
	}
	return listed, nil
}

func TestCreateReplacesNothing(t *testing.T) {
	each(t, func(t *testing.T, s Store) {
		create(t, s, "a/b.jsonl", "first")
		if err := s.Create(t.Context(), "a/b.jsonl", strings.NewReader("second")); !errors.Is(err, ErrExists) {
			t.Errorf("creating it again: %v", err)
		}
		if got := content(t, s, "a/b.jsonl", 0); got != "first" {
			t.Errorf("it has become %q", got)
		}
		if got := content(t, s, "a/b.jsonl", 3); got != "st" {
			t.Errorf("from byte 3 on it is %q", got)
		}
		if got := content(t, s, "a/b.jsonl", 5); got != "" {
			t.Errorf("at its end there is %q", got)
		}
	})
}

// Of many that create an object at once one does, and its content is what is there.
func TestOneCreates(t *testing.T) {
	each(t, func(t *testing.T, s Store) {
		for round := range 20 {
			var winner atomic.Int64
			var creators sync.WaitGroup
			key := fmt.Sprint("round-", round)
			for i := range int64(8) {
				creators.Go(func() {
					err := s.Create(t.Context(), key, strings.NewReader(fmt.Sprint(i)))
					if err == nil && !winner.CompareAndSwap(0, i+1) {
						t.Error("two have created it")
					}
					if err != nil && !errors.Is(err, ErrExists) {
						t.Error(err)
					}
				})
			}
			creators.Wait()
			if want, got := fmt.Sprint(winner.Load()-1), content(t, s, key, 0); got != want {
				t.Errorf("created by %s, it is %s", want, got)
			}
		}
	})
}

// breaking is content that breaks off.
type breaking struct{ io.Reader }

func (b breaking) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if errors.Is(err, io.EOF) {
		err = errors.New("broken off")
	}
	return n, err
}

func TestWhatBreaksOffIsNotThere(t *testing.T) {
	each(t, func(t *testing.T, s Store) {
		err := s.Create(t.Context(), "a", breaking{bytes.NewReader(make([]byte, 1<<20))})
		if err == nil || !strings.Contains(err.Error(), "broken off") || Settled(err) {
			t.Errorf("creating it: %v", err)
		}
		if listed, err := keys(t.Context(), s, "", ""); err != nil || len(listed) > 0 {
			t.Errorf("there are %v, %v", listed, err)
		}
		create(t, s, "a", "whole")
	})
}

func TestWhatIsMissing(t *testing.T) {
	each(t, func(t *testing.T, s Store) {
		if _, err := s.Open(t.Context(), "a", 0); !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
		if listed, err := keys(t.Context(), s, "a/", ""); err != nil || len(listed) > 0 {
			t.Errorf("there are %v, %v", listed, err)
		}
	})
	if _, err := OpenFolder(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

// A listing from any key is the end of the whole, and the whole has everything.
func TestList(t *testing.T) {
	each(t, func(t *testing.T, s Store) {
		// Names of which one folder's begins another file's, in which byte order isn't that of
		// folders.
		names := []string{"a", "a-b", "a.txt", "ab", "b", "data"}
		created := map[string]bool{}
		for _, first := range names {
			for _, second := range names {
				for _, key := range []string{first + "/" + second, first + "/" + second + ".d/" + first, second + ".x"} {
					if !created[key] {
						create(t, s, key, key)
					}
					created[key] = true
				}
			}
		}
		rapid.Check(t, func(rt *rapid.T) {
			prefix := rapid.SampledFrom([]string{"", "a", "a/", "a/a", "data/", "ab/b.d/", "none"}).Draw(rt, "prefix")
			all, err := keys(t.Context(), s, prefix, "")
			if err != nil {
				rt.Fatal(err)
			}
			want := 0
			for key := range created {
				if strings.HasPrefix(key, prefix) {
					want++
				}
			}
			if sorted := slices.Compact(slices.Sorted(slices.Values(all))); len(all) != want || len(sorted) != want {
				rt.Fatalf("%d are listed, %d of them different, want %d", len(all), len(sorted), want)
			}
			if want == 0 {
				return
			}
			from := rapid.IntRange(0, want-1).Draw(rt, "from")
			rest, err := keys(t.Context(), s, prefix, all[from])
			if err != nil || !slices.Equal(rest, all[from:]) {
				rt.Fatalf("from %s on: %v, %v; want %v", all[from], rest, err, all[from:])
			}
		})
	})
}

// The volume of a ConfigMap has links, into a folder that has another name after each change.
func TestFolderOfAConfigMap(t *testing.T) {
	s := folder(t)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(s.root, "..2026"), 0o755), os.WriteFile(filepath.Join(s.root, "..2026", "rows"), []byte("1"), 0o644),
		os.Symlink("..2026", filepath.Join(s.root, "..data")), os.Symlink("..data/rows", filepath.Join(s.root, "rows")),
		os.Symlink("..data/none", filepath.Join(s.root, "dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if listed, err := keys(t.Context(), s, "", ""); err != nil || !slices.Equal(listed, []string{"rows"}) {
		t.Errorf("listed %v, %v", listed, err)
	}
	if got := content(t, s, "rows", 0); got != "1" {
		t.Errorf("it is %q", got)
	}
}

// That a volume takes no hard links is no fault of who may write there, and stays so.
func TestFolderWithoutLinks(t *testing.T) {
	for says, want := range map[syscall.Errno]error{
		syscall.EPERM: ErrUnsafe, syscall.ENOTSUP: ErrUnsafe, syscall.ENOSYS: ErrUnsafe,
		syscall.EACCES: ErrRefused, syscall.ENOSPC: ErrFull, syscall.EEXIST: ErrExists,
	} {
		s := folder(t)
		s.link = func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: says} }
		err := s.Create(t.Context(), "a", strings.NewReader("1"))
		if !errors.Is(err, want) || !Settled(err) || errors.Is(want, ErrUnsafe) && errors.Is(err, ErrRefused) {
			t.Errorf("%v: %v", says, err)
		}
		if listed, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(scratch))); err != nil || len(listed) > 0 {
			t.Errorf("%v: it leaves %v, %v", says, listed, err)
		}
	}
}

// Of an output nothing is written but below its prefix. What one has left there that was killed
// while it wrote is in no listing, and goes once the same is there.
func TestDraftsAreTheOutputsOwn(t *testing.T) {
	root := t.TempDir()
	s, err := OpenFolder(root, "runs/1/")
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "runs/1/results/0", "first")
	all, err := OpenFolder(root, "")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("beside the output there are %v, %v", entries, err)
	}
	draft := func(of string) string {
		return filepath.Join(s.scratch, draftsOf(filepath.Join(root, filepath.FromSlash(of)))+"1")
	}
	for _, of := range []string{"runs/1/results/0", "runs/1/results/1", "runs/1/results/2"} {
		if err := os.WriteFile(draft(of), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if listed, err := keys(t.Context(), all, "", ""); err != nil || !slices.Equal(listed, []string{"runs/1/results/0"}) {
		t.Errorf("listed %v, %v", listed, err)
	}
	if err := s.Create(t.Context(), "runs/1/results/0", strings.NewReader("second")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	create(t, s, "runs/1/results/1", "first")
	left, err := os.ReadDir(s.scratch)
	if err != nil || len(left) != 1 || left[0].Name() != filepath.Base(draft("runs/1/results/2")) {
		t.Errorf("left over are %v, %v", left, err)
	}
}

// Who is slower finds what the faster one has put, also where that one has removed the slower
// one's draft.
func TestDraftIsRemovedMeanwhile(t *testing.T) {
	s := folder(t)
	slow := during{strings.NewReader("slow"), func() { create(t, s, "a", "fast") }}
	if err := s.Create(t.Context(), "a", slow); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if got := content(t, s, "a", 0); got != "fast" {
		t.Errorf("it is %q", got)
	}
}

// during is content in whose middle something is done.
type during struct {
	io.Reader

	do func()
}

func (d during) Read(into []byte) (int, error) {
	n, err := d.Reader.Read(into)
	if errors.Is(err, io.EOF) {
		d.do()
	}
	return n, err
}

func TestFolderKeepsWithin(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := OpenFolder(root, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"../secret", "/etc/passwd", "a/../../secret"} {
		if _, err := s.Open(t.Context(), key, 0); !errors.Is(err, ErrRefused) {
			t.Errorf("opening %s: %v", key, err)
		}
		if err := s.Create(t.Context(), key, strings.NewReader("")); !errors.Is(err, ErrRefused) {
			t.Errorf("creating %s: %v", key, err)
		}
	}
}

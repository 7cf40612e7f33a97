//go:build e2e

package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/test/stores"
)

// buckets numbers those of this run's tests.
var buckets atomic.Int64

// realBucket is a new bucket of a real store, which goes with the test.
func realBucket(t *testing.T) (*stores.S3, *task.S3) {
	t.Helper()
	store, err := stores.FindS3(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("objects-%d-%d", os.Getpid(), buckets.Add(1))
	if err := store.Make(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Remove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return store, &task.S3{Endpoint: store.Endpoint, Bucket: name, Credentials: keysOf(t, store.AccessKey, store.SecretKey)}
}

// keysOf is a folder as the mounted Secret is.
func keysOf(t *testing.T, access, secret string) string {
	t.Helper()
	folder := t.TempDir()
	for name, value := range map[string]string{task.AccessKeyFile: access, task.SecretKeyFile: secret} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func opened(t *testing.T, at *task.S3) *Bucket {
	t.Helper()
	b, err := OpenS3(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What holds for every Store is tried with a real one, too.
func init() {
	realStores["S3"] = func(t *testing.T) Store {
		t.Helper()
		_, at := realBucket(t)
		return opened(t, at)
	}
}

// A large object is put whole, in parts as the SDK does it, and read in ranges.
func TestRealRanges(t *testing.T) {
	t.Parallel()
	_, at := realBucket(t)
	b := opened(t, at)
	whole := randomly(12 << 20)
	if err := b.Create(t.Context(), "rows/large.jsonl", bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "rows/large.jsonl", bytes.NewReader(whole[1:])); !errors.Is(err, ErrExists) {
		t.Errorf("creating it again: %v", err)
	}
	for _, offset := range []int{0, 1, 5 << 20, len(whole) - 1, len(whole), len(whole) + 1} {
		if got, want := content(t, b, "rows/large.jsonl", int64(offset)), string(whole[min(offset, len(whole)):]); got != want {
			t.Errorf("from byte %d on it has %d bytes, want %d, or is other content", offset, len(got), len(want))
		}
	}
	create(t, b, "rows/empty.jsonl", "")
	if got := content(t, b, "rows/empty.jsonl", 0); got != "" {
		t.Errorf("an empty object has %q", got)
	}
}

func randomly(bytes int) []byte {
	content := make([]byte, bytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	return content
}

// Who isn't let in, or asks for a bucket that isn't there, is told so at once: nothing of it
// is over soon.
func TestRealRefusals(t *testing.T) {
	t.Parallel()
	store, right := realBucket(t)
	create(t, opened(t, right), "a", "content")
	wrong := func(access, secret string) *task.S3 {
		return &task.S3{Endpoint: right.Endpoint, Bucket: right.Bucket, Credentials: keysOf(t, access, secret)}
	}
	missing := *right
	missing.Bucket += "-none"
	for _, tt := range []struct {
		name string
		at   *task.S3
		want error
	}{
		{"wrong secret", wrong(store.AccessKey, "wrong"), ErrRefused},
		{"unknown access key", wrong("nobody", store.SecretKey), ErrRefused},
		{"missing bucket", &missing, ErrMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := opened(t, tt.at)
			if _, err := b.Open(t.Context(), "a", 0); !errors.Is(err, tt.want) {
				t.Errorf("opening: %v, want %v", err, tt.want)
			}
			if _, err := keys(t.Context(), b, "", ""); !errors.Is(err, tt.want) {
				t.Errorf("listing: %v, want %v", err, tt.want)
			}
			if err := b.Create(t.Context(), "b", strings.NewReader("content")); !errors.Is(err, tt.want) {
				t.Errorf("creating: %v, want %v", err, tt.want)
			}
		})
	}
}

// A real volume that is full: what doesn't fit isn't there, nothing is left of it, and what is
// there stays as it is; once there is room it is put.
func TestRealVolumeIsFull(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal("a volume of 256 KiB:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := OpenFolder(root, "")
	if err != nil {
		t.Fatal(err)
	}
	fits, large := randomly(100<<10), randomly(200<<10)
	if err := s.Create(t.Context(), "results/0", bytes.NewReader(fits)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Create(t.Context(), "results/1", bytes.NewReader(large)); !errors.Is(err, ErrFull) || !Settled(err) {
			t.Errorf("creating what doesn't fit: %v", err)
		}
	}
	if listed, err := keys(t.Context(), s, "", ""); err != nil || !slices.Equal(listed, []string{"results/0"}) {
		t.Errorf("there are %v, %v", listed, err)
	}
	left, err := os.ReadDir(filepath.Join(root, scratch))
	if err != nil || len(left) > 0 {
		t.Errorf("left over are %v, %v", left, err)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal("more room:", err)
	}
	if err := s.Create(t.Context(), "results/1", bytes.NewReader(large)); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	for key, want := range map[string][]byte{"results/0": fits, "results/1": large} {
		if got := content(t, s, key, 0); got != string(want) {
			t.Errorf("%s has %d bytes, want %d, or other content", key, len(got), len(want))
		}
	}
}

const (
	// awayFor is how long the store is away, patient how long it is asked nevertheless.
	awayFor = 30 * time.Second
	patient = Patience(5 * time.Minute)
)

// A store that is away for half a minute costs nothing but the time: what was being read is
// read to its end, and what was being put is there, once and whole. Who has less patience is
// told that the store is away.
func TestRealStoreIsAway(t *testing.T) {
	t.Parallel()
	_, at := realBucket(t)
	whole := randomly(8 << 20)
	direct := opened(t, at)
	if err := direct.Create(t.Context(), "in", bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	store, err := url.Parse(at.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := stores.NewProxy(context.Background(), store.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Away)
	through := *at
	through.Endpoint = "http://" + proxy.Address()
	b := opened(t, &through)

	reading := patient.Read(t.Context(), b, "in", 0)
	defer reading.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(reading, first); err != nil {
		t.Fatal(err)
	}
	proxy.Away()
	err = Patience(time.Second).Try(t.Context(), func() error { return b.Create(t.Context(), "impatient", strings.NewReader("content")) })
	if err == nil || Settled(err) {
		t.Errorf("who has no patience got %v", err)
	}
	begun, back := time.Now(), make(chan error, 1)
	time.AfterFunc(awayFor, func() { back <- proxy.Back(context.Background()) })
	var work sync.WaitGroup
	var rest []byte
	var read, put error
	work.Go(func() { rest, read = io.ReadAll(reading) })
	work.Go(func() {
		put = patient.Try(t.Context(), func() error { return b.Create(t.Context(), "out", bytes.NewReader(whole)) })
	})
	work.Wait()
	took := time.Since(begun)
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	if read != nil || put != nil {
		t.Errorf("reading: %v, putting: %v", read, put)
	}
	if took < awayFor {
		t.Errorf("it took %s, less than the store was away", took)
	}
	if !bytes.Equal(append(first, rest...), whole) {
		t.Errorf("read were %d bytes, want %d, or other content", len(first)+len(rest), len(whole))
	}
	if content(t, direct, "out", 0) != string(whole) {
		t.Error("what was put isn't what is there")
	}
	if listed, err := keys(t.Context(), direct, "impatient", ""); err != nil || len(listed) > 0 {
		t.Errorf("who was told that the store is away has put %v, %v", listed, err)
	}
}

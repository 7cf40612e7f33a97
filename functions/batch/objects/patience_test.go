package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// away is a store that can be away, and whose connections break.
type away struct {
	content string
	until   time.Time
	// pieces are how many bytes each connection brings; then they are whole.
	pieces []int
	opened int
}

func (a *away) List(context.Context, string, string) iter.Seq2[Object, error] { return nil }

func (a *away) Open(_ context.Context, _ string, offset int64) (io.ReadCloser, error) {
	a.opened++
	if time.Now().Before(a.until) {
		return nil, errors.New("connection refused")
	}
	rest := strings.NewReader(a.content[offset:])
	if len(a.pieces) == 0 {
		return io.NopCloser(rest), nil
	}
	piece := a.pieces[0]
	a.pieces = a.pieces[1:]
	broken := iotest.ErrReader(errors.New("connection reset"))
	return io.NopCloser(io.MultiReader(io.LimitReader(rest, int64(piece)), broken)), nil
}

// A store that is away for 30 s is waited for; one that stays away isn't, for ever.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a := &away{content: "content", until: begin.Add(30 * time.Second)}
		reader := Patience(time.Minute).Read(t.Context(), a, "key", 0)
		defer reader.Close()
		if read, err := io.ReadAll(reader); err != nil || string(read) != "content" {
			t.Errorf("read %q, %v", read, err)
		}
		if took := time.Since(begin); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("it took %s", took)
		}
		if a.opened > 30 {
			t.Errorf("it was asked %d times in 30 s", a.opened)
		}
		a.until = time.Now().Add(time.Hour)
		begin = time.Now()
		if _, err := io.ReadAll(Patience(time.Minute).Read(t.Context(), a, "key", 0)); err == nil {
			t.Error("it was read while it was away")
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("it was waited for during %s", took)
		}
	})
}

// What comes further each time is gone on with, however long it takes. What doesn't isn't.
func TestPatienceBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, tries := errors.New("connection reset"), 0
		if err := Patience(time.Minute).Through(t.Context(), func() (bool, error) {
			time.Sleep(40 * time.Second)
			if tries++; tries == 10 {
				return true, nil
			}
			return tries%2 == 1, away
		}); err != nil || tries != 10 {
			t.Errorf("after %d tries: %v", tries, err)
		}
		begin := time.Now()
		first := true
		err := Patience(time.Minute).Through(t.Context(), func() (further bool, err error) {
			further, first = first, false
			return further, away
		})
		if took := time.Since(begin); !errors.Is(err, away) || took > time.Minute {
			t.Errorf("it was waited for during %s: %v", took, err)
		}
		tries = 0
		err = Patience(time.Minute).Through(t.Context(), func() (bool, error) {
			tries++
			return true, ErrRefused
		})
		if !errors.Is(err, ErrRefused) || tries != 1 {
			t.Errorf("got %v after %d tries", err, tries)
		}
	})
}

func TestWhatIsSettledIsNotTriedAgain(t *testing.T) {
	for _, settled := range []error{ErrExists, ErrMissing, ErrRefused, ErrFull} {
		tries := 0
		err := Patience(time.Minute).Try(t.Context(), func() error {
			tries++
			return fmt.Errorf("x: %w", settled)
		})
		if !errors.Is(err, settled) || tries != 1 {
			t.Errorf("got %v after %d tries", err, tries)
		}
	}
}

// However often connections break, what is read is what is there.
func TestReadingGoesOn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		content := rapid.StringN(0, 200, 200).Draw(rt, "content")
		offset := rapid.IntRange(0, len(content)).Draw(rt, "offset")
		pieces := rapid.SliceOfN(rapid.IntRange(0, 50), 0, 8).Draw(rt, "pieces")
		synctest.Test(t, func(t *testing.T) {
			reader := Patience(time.Minute).Read(t.Context(), &away{content: content, pieces: pieces}, "key", int64(offset))
			defer reader.Close()
			if read, err := io.ReadAll(reader); err != nil || string(read) != content[offset:] {
				t.Errorf("read %q, %v; want %q", read, err, content[offset:])
			}
		})
	})
}

// A connection that brings nothing is left.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stalling{content: "content"}
		reader := Patience(5*time.Minute).Read(t.Context(), s, "key", 0)
		defer reader.Close()
		if read, err := io.ReadAll(reader); err != nil || string(read) != "content" || s.opened != 2 {
			t.Errorf("read %q, %v, of %d connections", read, err, s.opened)
		}
	})
}

// stalling is silent over its first connection.
type stalling struct {
	away

	content string
	opened  int
}

func (s *stalling) Open(ctx context.Context, _ string, offset int64) (io.ReadCloser, error) {
	if s.opened++; s.opened > 1 {
		return io.NopCloser(strings.NewReader(s.content[offset:])), nil
	}
	return io.NopCloser(silent{ctx}), nil
}

type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

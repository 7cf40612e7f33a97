package objects

import (
	"context"
	"errors"
	"io"
	"iter"

	"sluice.dev/sluice/functions/batch/task"
)

// Object is one of a store.
type Object struct {
	Key string
	// Size is in bytes, below 0 where nobody knows before reading.
	Size int64
}

// Reader is a store that is read.
type Reader interface {
	// List yields the objects whose keys begin with prefix, from a key on, that one among
	// them; an empty one is before all. The order is the store's own, and always the same.
	List(ctx context.Context, prefix, from string) iter.Seq2[Object, error]
	// Open reads an object from an offset to its end. At or past the end that is nothing.
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
}

// Store is one that is written, too.
type Store interface {
	Reader
	// Create makes an object, which is there whole or not at all. Its error is ErrExists
	// where there is one, which stays as it is.
	Create(ctx context.Context, key string, content io.Reader) error
}

// What a store says, beside its own words.
var (
	ErrExists  = errors.New("is there already")
	ErrMissing = errors.New("isn't there")
	ErrRefused = errors.New("is refused")
	ErrFull    = errors.New("there is no room left")
	// ErrUnsafe is that of a store that can't keep an object from being replaced.
	ErrUnsafe = errors.New("can't keep what is there from being replaced")
)

// lapsedError is a refusal of what was allowed before, as while keys are replaced: it may be over
// once the new ones are everywhere.
type lapsedError struct{ err error }

func (l *lapsedError) Error() string { return "was allowed before: " + l.err.Error() }

func (l *lapsedError) Unwrap() error { return l.err }

// Settled tells whether trying again is of no use, or was tried already.
func Settled(err error) bool {
	if lapsed := (*lapsedError)(nil); errors.As(err, &lapsed) {
		return false
	}
	for _, known := range []error{ErrExists, ErrMissing, ErrRefused, ErrFull, ErrUnsafe, context.Canceled} {
		if errors.Is(err, known) {
			return true
		}
	}
	failure := &task.ReasonedError{}
	return errors.As(err, &failure)
}

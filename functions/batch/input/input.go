package input

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Source is what a batch reads: whatever yields the same items from a position each time.
type Source interface {
	// Fix has a source that grows be read as the ranges say, or, without any, as it is now. It
	// returns those that hold from then on: nil of a source that doesn't grow.
	Fix(ctx context.Context, ranges []plan.Range) ([]plan.Range, error)
	// Items yields what begins at a position or after it, in order, and ends with the first
	// error.
	Items(ctx context.Context, from plan.Position) iter.Seq2[*Item, error]
}

// Item is one request's content, or why there is none.
type Item struct {
	// Object and Line, which counts from 1, are where it begins. Line is 0 of whole objects, and
	// of a topic's records, which have an Offset in their partition.
	Object string
	Line   int64
	Offset *int64
	// Size is what it takes of the input, in bytes.
	Size int64
	// End is the position behind it.
	End         plan.Position
	Body        []byte
	ContentType string
	// Problem is why it can't be asked, if it can't.
	Problem string
	load    func(context.Context, *Item) error
}

// Load reads the body of an item whose source doesn't do so before it is needed.
func (i *Item) Load(ctx context.Context) error {
	if i.load == nil {
		return nil
	}
	defer func() { i.load = nil }()
	return i.load(ctx, i)
}

// Open returns the Source that a task names.
func Open(ctx context.Context, t *task.Task) (Source, error) {
	from, err := open(ctx, &t.Input)
	if err != nil {
		return nil, blame(err)
	}
	return New(from, t), nil
}

func open(ctx context.Context, in *task.Input) (objects.Reader, error) {
	if len(in.URLs) > 0 {
		return objects.NewWeb(in.URLs), nil
	}
	return objects.Open(ctx, &in.Store, "")
}

// New returns the Source of a task over a store.
func New(from objects.Reader, t *task.Task) Source {
	listed := listing{from: from, key: t.Input.Key, prefix: t.Input.Prefix, patience: objects.Patience(t.Retry.Patience)}
	if t.Format == task.Objects {
		return &wholes{listing: listed, bound: t.Bounds.ItemBytes}
	}
	return &lines{listing: listed, bound: t.Bounds.ItemBytes}
}

// listing is the objects that are read.
type listing struct {
	from        objects.Reader
	key, prefix string
	patience    objects.Patience
}

// Fix fixes nothing: objects stay as they are.
func (l *listing) Fix(context.Context, []plan.Range) ([]plan.Range, error) { return nil, nil }

// objects yields them from one on. A listing that breaks off goes on behind what it has
// yielded.
func (l *listing) objects(ctx context.Context, from string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		done, last, some := false, from, false
		err := l.patience.Through(ctx, func() (further bool, err error) {
			for object, err := range l.from.List(ctx, l.everything(), last) {
				if err != nil {
					return further, err
				}
				if some && object.Key == last || l.key != "" && object.Key != l.key {
					continue
				}
				last, some, further = object.Key, true, true
				if done = !yield(object, nil); done {
					break
				}
			}
			return further, nil
		})
		switch {
		case done:
		case err != nil:
			yield(objects.Object{}, blame(err))
		case !some && l.key != "":
			yield(objects.Object{}, blame(fmt.Errorf("%s: %w", l.key, objects.ErrMissing)))
		}
	}
}

// everything begins the keys of all objects that are read.
func (l *listing) everything() string {
	if l.key != "" {
		return l.key
	}
	return l.prefix
}

// blame adds why an input can't be read.
func blame(err error) error {
	if known := (*task.ReasonedError)(nil); errors.As(err, &known) {
		return err
	}
	err = fmt.Errorf("reading the input: %w", err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, objects.ErrMissing):
		return task.Final(task.InputMissing, err)
	case errors.Is(err, objects.ErrRefused):
		return task.Final(task.StoreRefused, err)
	default:
		return task.Passing(task.StoreAway, err)
	}
}

package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"path"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// wholes are items of an object each. Their bodies are read when they are asked for.
type wholes struct {
	listing

	bound int64
}

// Items yields them.
func (w *wholes) Items(ctx context.Context, from plan.Position) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		for object, err := range w.objects(ctx, from.Object) {
			if err != nil {
				yield(nil, err)
				return
			}
			// The position behind an item is of its object; at the beginning there is none.
			if object.Key == from.Object {
				continue
			}
			if !yield(w.item(object), nil) {
				return
			}
		}
	}
}

func (w *wholes) item(object objects.Object) *Item {
	item := &Item{
		Object: object.Key, Size: object.Size, ContentType: contentType(object.Key), load: w.load,
		End: plan.Position{Object: object.Key, Offset: object.Size},
	}
	if object.Size > w.bound {
		item.Problem, item.load = w.tooLong(), nil
	}
	return item
}

func (w *wholes) tooLong() string { return fmt.Sprintf("the object is longer than %d bytes", w.bound) }

// load reads an item's body. That it has gone or grown since it was listed changes which
// items there are, or what they are.
func (w *wholes) load(ctx context.Context, item *Item) error {
	content := w.patience.Read(ctx, w.from, item.Object, 0)
	defer content.Close()
	body, err := io.ReadAll(io.LimitReader(content, w.bound+1))
	switch {
	case errors.Is(err, objects.ErrMissing):
		return task.Final(task.InputChanged, fmt.Errorf("%s has gone since the input was planned", item.Object))
	case err != nil:
		return blame(err)
	case int64(len(body)) > w.bound:
		item.Problem = w.tooLong()
	default:
		item.Body = body
	}
	return nil
}

// contentType goes by the name, so that it is the same at any store.
func contentType(key string) string {
	if known := mime.TypeByExtension(path.Ext(key)); known != "" {
		return known
	}
	return "application/octet-stream"
}

package worker

import (
	"context"
	"iter"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/plan"
)

// reading is of a source's items over parts that follow each other: so what lists objects does it
// once a shard, and what is open stays so.
type reading struct {
	// ctx is that of the whole reading.
	ctx    context.Context
	source input.Source
	// at is where it is.
	at   plan.Position
	next func() (*input.Item, error, bool)
	// stop ends it, and cancel what is being waited for.
	stop   func()
	cancel context.CancelFunc
}

// from yields items from a position on, for as long as the context of who wants these lasts.
func (r *reading) from(ctx context.Context, at plan.Position) iter.Seq2[*input.Item, error] {
	return func(yield func(*input.Item, error) bool) {
		if r.next == nil || r.at != at {
			r.close()
			var lasting context.Context
			lasting, r.cancel = context.WithCancel(r.ctx)
			r.next, r.stop = iter.Pull2(r.source.Items(lasting, at))
			r.at = at
		}
		ended := context.AfterFunc(ctx, r.cancel)
		defer ended()
		for {
			item, err, ok := r.next()
			if !ok {
				return
			}
			if err == nil {
				r.at = item.End
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// close ends what is read.
func (r *reading) close() {
	if r.next == nil {
		return
	}
	r.cancel()
	r.stop()
	r.next = nil
}

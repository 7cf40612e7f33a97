package topic

import (
	"context"
	"iter"

	"github.com/twmb/franz-go/pkg/kgo"
)

// writer writes as one of a batch's transactional IDs. Each of its sessions begins with what
// is there, so it writes nothing that is there already, and whatever it doesn't see then is
// there only by its own writing.
type writer struct {
	output *Output
	id     string
	// number is the shard's.
	number  int
	session *session
	// found is what was there when the session began.
	found *ledger
}

func (o *Output) writer(of string) *writer {
	return &writer{output: o, id: "sluice-" + o.owner.uid + "-" + of}
}

// ready has a session.
func (w *writer) ready(ctx context.Context) error {
	if w.session != nil {
		return nil
	}
	began, err := w.output.begin(ctx, w.id)
	if err != nil {
		return err
	}
	if w.found, err = w.output.ledger(ctx); err != nil {
		began.leave()
		return err
	}
	w.session = began
	return nil
}

// write commits records together, unless something is there. Where nobody knows whether they
// are, a session that is begun anew does.
func (w *writer) write(ctx context.Context, there func(*ledger) bool, records iter.Seq2[*kgo.Record, error]) error {
	var open *session
	err := w.output.cluster.try(ctx, func() error {
		if open != nil {
			open.leave()
			open = nil
		}
		if err := w.ready(ctx); err != nil || there(w.found) {
			return err
		}
		err := w.session.write(ctx, records)
		if err != nil {
			open, w.session = w.session, nil
		}
		return err
	})
	if open != nil {
		open.undo(ctx)
	}
	return err
}

func (w *writer) close() {
	if w.session != nil {
		w.session.leave()
		w.session = nil
	}
}

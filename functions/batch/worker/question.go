package worker

import (
	"context"
	"fmt"
	"iter"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/rows"
	"sluice.dev/sluice/functions/batch/task"
)

// entry is an item with its number, and what was read of it where rows are gathered.
type entry struct {
	*input.Item

	number int64
	row    *rows.Request
}

// record begins the item's record.
func (e entry) record() output.Record {
	return output.Record{Item: e.number, Object: e.Object, Line: e.Line, Offset: e.Offset}
}

// together are entries that are asked about in one request: one, or rows that gather.
type together []entry

// key is the same whenever these are asked about.
func (t together) key(uid string) string {
	if len(t) == 1 {
		return fmt.Sprintf("%s-%d", uid, t[0].number)
	}
	return fmt.Sprintf("%s-%d-%d", uid, t[0].number, t[len(t)-1].number)
}

func (t together) requests() []*rows.Request {
	read := make([]*rows.Request, len(t))
	for i, e := range t {
		read[i] = e.row
	}
	return read
}

// held is what they take of the memory until each has a record, in bytes, where whole objects
// of an unknown size take as much as they may.
func (t together) held(unknown int64) int64 {
	held := int64(0)
	for _, e := range t {
		switch {
		case e.Problem != "":
		case e.Body != nil:
			held += int64(cap(e.Body))
		case e.Size < 0:
			held += unknown
		default:
			held += e.Size // it is read when it is asked about
		}
		if e.row != nil {
			held += e.row.Held()
		}
		if len(t) > 1 {
			held += int64(len(e.Body)) // among what is gathered
		}
	}
	return held
}

func (t together) question(uid string) (Question, error) {
	q := Question{Key: t.key(uid), Body: t[0].Body, ContentType: t[0].ContentType}
	if len(t) == 1 {
		return q, nil
	}
	body, err := rows.Gather(t.requests())
	if err != nil {
		return q, fmt.Errorf("gathering items %d to %d: %w", t[0].number, t[len(t)-1].number, err)
	}
	q.Body = body
	return q, nil
}

// items yields a part's items, which have to be those that were planned: as many, and
// ending where they did.
func items(ctx context.Context, from *reading, part plan.Part, end plan.Position) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		number, at := part.First, part.At
		past := part.First + part.Items
		for item, err := range from.from(ctx, part.At) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			number, at = number+1, item.End
			if !yield(entry{Item: item, number: number - 1}, nil) {
				return
			}
			if number == past {
				break
			}
		}
		if number != past || at != end {
			yield(entry{}, task.Final(task.InputChanged, fmt.Errorf(
				"the input has changed since it was planned: items %d to %d don't end at %s; give the batch an input that stays as it is, and start it anew",
				part.First, past-1, end)))
		}
	}
}

// questions yields a part's items as they are asked about.
func (w *Worker) questions(ctx context.Context, from *reading, part plan.Part, end plan.Position) iter.Seq2[together, error] {
	items := items(ctx, from, part, end)
	if w.Task.Format == task.Rows {
		return w.gathered(items)
	}
	return func(yield func(together, error) bool) {
		for e, err := range items {
			if !yield(together{e}, err) || err != nil {
				return
			}
		}
	}
}

// gathered yields rows that gather, up to so many, and to as many bytes as an item may have; one by
// one, once it has shown that gathering is of no use.
func (w *Worker) gathered(items iter.Seq2[entry, error]) iter.Seq2[together, error] {
	return func(yield func(together, error) bool) {
		var next together
		count, size := 0, int64(0)
		for e, err := range items {
			if err != nil {
				yield(nil, err)
				return
			}
			if !readRow(&e) {
				if !yield(together{e}, nil) {
					return
				}
				continue
			}
			if len(next) > 0 && (w.gathering.over() || count+e.row.Rows() > w.Task.Request.Rows || size+e.Size > w.Task.Bounds.ItemBytes || !e.row.Gathers(next[0].row)) {
				if !yield(next, nil) {
					return
				}
				next, count, size = nil, 0, 0
			}
			next, count, size = append(next, e), count+e.row.Rows(), size+e.Size
		}
		if len(next) > 0 {
			yield(next, nil)
		}
	}
}

// readRow reads an item's row, or finds that it is none.
func readRow(e *entry) bool {
	if e.Problem != "" {
		return false
	}
	row, err := rows.Parse(e.Body)
	if err != nil {
		e.Problem = "it is no request of the Open Inference Protocol: " + err.Error()
		return false
	}
	e.row = row
	return true
}

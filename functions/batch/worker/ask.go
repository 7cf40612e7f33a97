package worker

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/rows"
	"sluice.dev/sluice/functions/batch/task"
)

// longestPause bounds for how long a Model is let alone that says when to come again: it may be
// mistaken, and back in a moment.
const longestPause = time.Minute

// lookAgain is what the pauses grow to, at most, before a Model is asked again that wasn't to be
// had and doesn't say when to come again: the gate lets few requests through to one that is
// away, and what grew any longer would be waited for when it is back.
const lookAgain = 2 * time.Second

// settle asks until there is a record for each of the items, and keeps those.
func (w *Worker) settle(ctx context.Context, t together, keep func(*output.Record) error) error {
	if err := t[0].Load(ctx); err != nil {
		return err
	}
	if len(t) == 1 && t[0].Problem != "" {
		record := t[0].record()
		record.Reason = t[0].Problem
		return keep(&record)
	}
	if len(t) > 1 && w.gathering.over() {
		return w.settleEach(ctx, slices.Chunk(t, 1), keep)
	}
	question, err := t.question(w.Task.UID)
	if err != nil {
		return err
	}
	answer, v, err := w.ask(ctx, question)
	if release := answer.release; release != nil {
		defer release() // and not the answer's Free, which would hold its body meanwhile
	}
	if err != nil {
		return err
	}
	if len(t) == 1 {
		if v != answered {
			w.gathering.excused()
		}
		return w.keepAnswer(t[0], answer, v, keep)
	}
	return w.settleCut(ctx, t, answer, v, keep)
}

// settleCut keeps what an answer to several items says of each. If one of them may be why
// there is none, each half is asked about alone: so one item's fault is no other's. If it isn't
// any item's, as of an output that has no rows, that is learned.
func (w *Worker) settleCut(ctx context.Context, t together, answer Answer, v verdict, keep func(*output.Record) error) error {
	each := func(body func(i int) []byte) error {
		for i, e := range t {
			answer.Body = body(i)
			if err := w.keepAnswer(e, answer, v, keep); err != nil {
				return err
			}
		}
		return nil
	}
	var why string
	switch {
	case v == answered:
		cut, err := rows.Cut(answer.Body, t.requests())
		if err == nil {
			w.gathering.worked()
			return each(func(i int) []byte { return cut[i] })
		}
		why = err.Error()
	case judge(answer) == later:
		whole := answer.Body
		return each(func(int) []byte { return whole })
	default:
		why = reason(answer)
	}
	// The halves' answers need room, too.
	answer.Free()
	if w.gathering.failed() {
		w.Log.Warn("Rows are asked about one by one from here on, as what was asked about several had no answer that can be cut; "+
			"have each output have as many rows as the inputs, or set spec.format.type to Lines", "last", why)
	}
	return w.settleEach(ctx, slices.Chunk(t, (len(t)+1)/2), keep)
}

func (w *Worker) settleEach(ctx context.Context, some iter.Seq[together], keep func(*output.Record) error) error {
	for t := range some {
		if err := w.settle(ctx, t, keep); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) keepAnswer(e entry, answer Answer, v verdict, keep func(*output.Record) error) error {
	record := e.record()
	record.Status = answer.Status
	if v != answered {
		record.Reason = reason(answer)
		return keep(&record)
	}
	// Which line it was is of interest where it has to be mended.
	if e.Line > 0 {
		record.Object, record.Line = "", 0
	}
	// What is written of a large answer takes a multiple of it: one at a time.
	if len(answer.Body) >= small {
		w.writing.Lock()
		defer w.writing.Unlock()
	}
	if err := record.Answer(answer.Body); err != nil {
		return err
	}
	return keep(&record)
}

// ask asks until there is an answer to keep, or it is of no use to ask again.
func (w *Worker) ask(ctx context.Context, question Question) (Answer, verdict, error) {
	first, last := time.Duration(w.Task.Retry.MinBackoff), time.Duration(w.Task.Retry.MaxBackoff)
	waits, looks := doubling(first, last), doubling(first, min(last, max(lookAgain, first)))
	heard := w.heard.Load()
	tried := trial{}
	for {
		answer, took, err := w.once(ctx, question)
		if err != nil {
			return answer, failed, err
		}
		if judge(answer) == later {
			tried.away = w.away.later(time.Now(), w.heard.Load(), took)
		} else {
			tried.attempts++
			if answer.Status > 0 {
				w.heard.Add(1)
				heard++
			}
		}
		tried.heard = w.heard.Load() > heard
		v := tried.next(answer, w.Task.Retry)
		switch v {
		case answered, failed:
			return answer, v, nil
		case lost:
			return answer, v, task.Passing(task.ModelAway, fmt.Errorf("for %s the Model has taken no request: %s", tried.longest().Round(time.Second), reason(answer)))
		}
		answer.Free()
		next := waits
		if v == later {
			next = looks
		}
		pause := max(next.NextBackOff(), min(answer.RetryAfter, longestPause, time.Duration(w.Task.Retry.Patience)))
		if v == later {
			tried.waited += took + pause
		}
		if err := sleep(ctx, pause); err != nil {
			return answer, failed, err
		}
	}
}

// doubling are pauses, each twice as long as the one before, and by chance half as long or by
// half longer: those that failed together aren't to come back together.
func doubling(first, last time.Duration) *backoff.ExponentialBackOff {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = first, last, 2
	return pauses
}

// once asks when there is credit for it, and tells how long the answer took.
func (w *Worker) once(ctx context.Context, question Question) (Answer, time.Duration, error) {
	leave, err := w.Gate.Enter(ctx)
	if err != nil {
		return Answer{}, 0, fmt.Errorf("waiting for credit: %w", err)
	}
	w.inFlight.Add(1)
	began := time.Now()
	answer := w.Asker.Ask(ctx, question)
	w.inFlight.Add(-1)
	took := time.Since(began)
	leave(answer, took)
	// What ended with the worker is no answer.
	return answer, took, ctx.Err()
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// grace is how long a commit may take that is under way when the worker is told to end:
// less than Kubernetes gives a pod.
const grace = 20 * time.Second

// Gate lets requests through: those for which there are credits, and room at the Model.
type Gate interface {
	// Enter waits until a request may be sent. What it returns is told what came of that one
	// and how long it took.
	Enter(ctx context.Context) (leave func(answer Answer, took time.Duration), err error)
}

// Output is where results go, and what tells how far a batch is.
type Output interface {
	// Claim makes the output the batch's own, or finds that it can't be.
	Claim(ctx context.Context) error
	// Plan returns the plan, nil where none is kept yet.
	Plan(ctx context.Context) (*plan.Plan, error)
	// SavePlan keeps a plan, unless there is one. It returns the one that is kept.
	SavePlan(ctx context.Context, p *plan.Plan) (*plan.Plan, error)
	// Settled returns the tallies of those parts of a shard that are in the output, by their
	// first items. From then on the shard is this worker's.
	Settled(ctx context.Context, shard int, parts []plan.Part) (map[int64]output.Tally, error)
	// Limit is what a claimed output has room for.
	Limit() output.Limit
	// Commit puts the results of a part of the shard, unless they are there, and returns the
	// tally of those that are.
	Commit(ctx context.Context, spool *output.Spool) (output.Tally, error)
}

// Worker works on a shard.
type Worker struct {
	Task   *task.Task
	Source input.Source
	Output Output
	Asker  Asker
	Gate   Gate
	// Folder is where results wait for their part.
	Folder string
	Log    *slog.Logger

	// heard counts the answers that say that the Model is there, own the items of which this
	// worker has a result itself.
	heard     atomic.Int64
	own       atomic.Int64
	inFlight  atomic.Int64
	succeeded atomic.Int64
	failed    atomic.Int64
	knows     atomic.Bool
	away      away
	gathering gathering
	// writing is held by who writes a large answer's record.
	writing sync.Mutex
}

// Progress is how far a worker is: the items of its shard that have a record, and the
// requests in flight.
type Progress struct {
	output.Tally

	// Knows is true once it has looked into the output: the tally has what is there.
	Knows    bool
	InFlight int64
	// Requests are those that the Model has answered this worker, Items what these settled.
	Requests, Items int64
}

// Progress returns how far it is. Items of a part that isn't committed count; if another
// worker's results are, those do.
func (w *Worker) Progress() Progress {
	knows := w.knows.Load() // before the tally, which has what it knows
	return Progress{
		Knows:    knows,
		Tally:    output.Tally{Succeeded: w.succeeded.Load(), Failed: w.failed.Load()},
		InFlight: w.inFlight.Load(),
		Requests: w.heard.Load(), Items: w.own.Load(),
	}
}

// Run works on a shard until each of its parts is committed, and returns the tally of those
// that are. While one part is committed the next is worked on.
func (w *Worker) Run(ctx context.Context, p *plan.Plan, index int) (output.Tally, error) {
	if _, err := w.Source.Fix(ctx, p.Ranges); err != nil {
		return output.Tally{}, err
	}
	shard := p.Shards[index]
	settled, err := w.Output.Settled(ctx, index, p.Parts[shard.From:shard.To])
	if err != nil {
		return output.Tally{}, err
	}
	var total output.Tally
	for _, tally := range settled {
		total = total.Plus(tally)
	}
	w.count(total)
	w.knows.Store(true)
	from := &reading{ctx: ctx, source: w.Source}
	defer from.close()
	commits := &commits{to: w.Output, count: w.count}
	for i := shard.From; i < shard.To; i++ {
		if _, ok := settled[p.Parts[i].First]; ok {
			continue
		}
		var spool *output.Spool
		if spool, err = w.part(ctx, from, p.Parts[i], p.EndOf(i)); err != nil {
			break
		}
		if err = commits.next(ctx, spool); err != nil {
			break
		}
	}
	err = errors.Join(err, commits.wait())
	return total.Plus(commits.done), err
}

// part works on a part, and returns its results.
func (w *Worker) part(ctx context.Context, from *reading, part plan.Part, end plan.Position) (*output.Spool, error) {
	spool, err := output.NewSpool(w.Folder, part, w.Task.Bounds.SpoolBytes, w.Output.Limit())
	if err != nil {
		return nil, err
	}
	keep := func(record *output.Record) error {
		if err := spool.Add(record); err != nil {
			return err
		}
		w.count(output.Tally{}.Count(record))
		w.own.Add(1)
		return w.bearable(record)
	}
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(w.Task.Bounds.Concurrency)
	memory := semaphore.NewWeighted(w.Task.Bounds.HeldBytes)
	for t, err := range w.questions(asking, from, part, end) {
		held := int64(0)
		if err == nil {
			held = min(t.held(w.Task.Bounds.ItemBytes), w.Task.Bounds.HeldBytes)
			err = memory.Acquire(asking, held)
		}
		group.Go(func() error {
			if err != nil {
				return err
			}
			defer memory.Release(held)
			return w.settle(asking, t, keep)
		})
		if err != nil || asking.Err() != nil {
			break
		}
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return spool, nil
}

func (w *Worker) count(t output.Tally) {
	w.succeeded.Add(t.Succeeded)
	w.failed.Add(t.Failed)
}

// bearable is an error once more items have failed than may.
func (w *Worker) bearable(record *output.Record) error {
	most := w.Task.MaxFailedItems
	if most == nil || !record.Failed() || w.failed.Load() <= *most {
		return nil
	}
	return task.Final(task.TooManyFailedItems, fmt.Errorf(
		"more than %d items have failed (maxFailedItems), the last of them item %d%s: %s", *most, record.Item, record.Where(), record.Reason))
}

// commits are a worker's, one at a time.
type commits struct {
	to    Output
	count func(output.Tally)
	// done is the tally of those that are through; nobody reads it before wait.
	done   output.Tally
	result chan error
}

// next begins a commit once the one before is through.
func (c *commits) next(ctx context.Context, spool *output.Spool) error {
	if err := c.wait(); err != nil {
		return errors.Join(err, spool.Close())
	}
	c.result = make(chan error, 1)
	go func() { c.result <- c.commit(ctx, spool) }()
	return nil
}

func (c *commits) commit(ctx context.Context, spool *output.Spool) error {
	defer func() { _ = spool.Close() }()
	ctx, cancel := outlasting(ctx, grace)
	defer cancel()
	there, err := c.to.Commit(ctx, spool)
	if err != nil {
		return err
	}
	c.done = c.done.Plus(there)
	own := spool.Tally()
	c.count(output.Tally{Succeeded: there.Succeeded - own.Succeeded, Failed: there.Failed - own.Failed})
	return nil
}

// wait waits for the commit that is under way.
func (c *commits) wait() error {
	if c.result == nil {
		return nil
	}
	err := <-c.result
	c.result = nil
	return err
}

// outlasting returns a context that ends a while after another.
func outlasting(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

package topic

import (
	"context"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Output is a batch's, in topics that others may use as well.
type Output struct {
	cluster *cluster
	client  *kgo.Client
	owner   owner
	of      *task.KafkaOutput
	// within is for how long a transaction may be open.
	within time.Duration
	// topics are those that are written, once the output is claimed.
	topics map[string]topic
	// behind is the offset of the plan among the markers: those of parts follow it.
	behind int64
	// planner and shard write the plan and a shard's parts; shard is nil before one is begun.
	planner, shard *writer
}

// topic is what is known of one.
type topic struct {
	partitions int32
	// room is what a batch of records may take, in bytes.
	room int32
}

// OpenOutput opens the topics that a task writes. It asks nobody yet.
func OpenOutput(t *task.Task) (*Output, error) { return openOutput(t) }

func openOutput(t *task.Task, more ...kgo.Opt) (*Output, error) {
	of := t.Output.Kafka
	c, err := newCluster(&of.Kafka, t.Retry.Patience, teller{"at the output", task.OutputMissing}, more)
	if err != nil {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	o := &Output{
		cluster: c, client: client, of: of, owner: owner{t.Namespace, t.Name, t.UID}, within: transactionOf(t.Bounds.SpoolBytes),
	}
	o.planner = o.writer("plan")
	return o, nil
}

// Close ends its connections.
func (o *Output) Close() {
	o.planner.close()
	if o.shard != nil {
		o.shard.close()
	}
	o.client.Close()
}

// Plan returns the plan, nil where none is kept yet.
func (o *Output) Plan(ctx context.Context) (*plan.Plan, error) {
	l, err := o.planned(ctx)
	if err != nil || l.plan != nil {
		return l.plan, err
	}
	// What is open may be in its way, or be that of a worker that was about to keep it.
	if err := o.cluster.try(ctx, func() error { return o.planner.ready(ctx) }); err != nil {
		return nil, err
	}
	return o.planner.found.plan, nil
}

// SavePlan keeps a plan, unless there is one. It returns the one that is kept.
func (o *Output) SavePlan(ctx context.Context, p *plan.Plan) (*plan.Plan, error) {
	most := min(pieceBytes, int(o.topics[o.of.Markers()].room-headroom)*3/4)
	pieces, err := o.owner.pieces(o.of.Markers(), p, most)
	if err != nil {
		return nil, err
	}
	defer o.planner.close()
	err = o.planner.write(ctx, func(l *ledger) bool {
		if l.plan != nil {
			p = l.plan
		}
		return l.plan != nil
	}, func(yield func(*kgo.Record, error) bool) {
		for _, piece := range pieces {
			if !yield(piece, nil) {
				return
			}
		}
	})
	return p, err
}

// Settled returns the tallies of the parts of a shard that are in the output, by their first
// items. From then on another worker of the shard can put nothing there.
func (o *Output) Settled(ctx context.Context, shard int, parts []plan.Part) (map[int64]output.Tally, error) {
	o.shard = o.writer(strconv.Itoa(shard))
	o.shard.number = shard
	if err := o.cluster.try(ctx, func() error { return o.shard.ready(ctx) }); err != nil {
		return nil, err
	}
	settled := map[int64]output.Tally{}
	for _, part := range parts {
		if tally, ok := o.shard.found.tallies[part.First]; ok {
			settled[part.First] = tally
		}
	}
	return settled, nil
}

// Commit puts a part's results, unless they are there, and returns the tally of those that
// are.
func (o *Output) Commit(ctx context.Context, spool *output.Spool) (tally output.Tally, err error) {
	if err := spool.Complete(); err != nil {
		return tally, err
	}
	first := spool.Part().First
	there := func(l *ledger) (ok bool) {
		tally, ok = l.tallies[first]
		return ok
	}
	if err := o.shard.write(ctx, there, o.results(spool)); err != nil {
		return output.Tally{}, err
	}
	if tally == (output.Tally{}) {
		tally = spool.Tally()
	}
	return tally, nil
}

// results yields a part's records, and the marker that says that they are there.
func (o *Output) results(spool *output.Spool) iter.Seq2[*kgo.Record, error] {
	return func(yield func(*kgo.Record, error) bool) {
		for line, err := range spool.Lines() {
			if err != nil {
				yield(nil, err)
				return
			}
			key, value := strconv.FormatInt(line.Item, 10), line.JSON[:len(line.JSON)-1]
			if !yield(o.owner.record(o.of.Topic, o.partition(o.of.Topic), key, value), nil) {
				return
			}
			if !line.Failed || o.of.ErrorTopic == "" {
				continue
			}
			if !yield(o.owner.record(o.of.ErrorTopic, o.partition(o.of.ErrorTopic), key, value), nil) {
				return
			}
		}
		yield(o.owner.marker(o.of.Markers(), spool.Part().First, spool.Tally()))
	}
}

// partition is where a shard's records are, all of them: so they stay in order.
func (o *Output) partition(of string) int32 {
	return int32(o.shard.number % int(o.topics[of].partitions))
}

// room is what a batch of a topic's records may take; of no topic, what one of any may.
func (o *Output) room(of string) int32 {
	if known, ok := o.topics[of]; ok {
		return known.room
	}
	least := int32(math.MaxInt32)
	for _, known := range o.topics {
		least = min(least, known.room)
	}
	return least
}

package topic

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/net/http/httpguts"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Input is a topic whose records are a batch's items: partition by partition, each in the
// order of its offsets.
type Input struct {
	cluster *cluster
	client  *kgo.Client
	of      *task.KafkaInput
	format  task.Format
	bound   int64
	ranges  []plan.Range
}

// OpenInput opens the topic that a task reads. It asks nobody yet.
func OpenInput(t *task.Task) (*Input, error) { return openInput(t) }

func openInput(t *task.Task, more ...kgo.Opt) (*Input, error) {
	of := t.Input.Kafka
	c, err := newCluster(&of.Kafka, t.Retry.Patience, teller{"reading the input", task.InputMissing}, more)
	if err != nil {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	return &Input{cluster: c, client: client, of: of, format: t.Format, bound: t.Bounds.ItemBytes}, nil
}

// Close ends its connections.
func (in *Input) Close() { in.client.Close() }

// Fix has it read as ranges say, or, without any, as the task does by what is there now.
func (in *Input) Fix(ctx context.Context, ranges []plan.Range) ([]plan.Range, error) {
	if ranges == nil {
		there, err := in.extents(ctx)
		if err != nil {
			return nil, err
		}
		if ranges, err = rangesOf(in.of, there); err != nil {
			return nil, err
		}
	}
	in.ranges = ranges
	return ranges, nil
}

// extents asks what there is of each partition.
func (in *Input) extents(ctx context.Context) (map[int32]extent, error) {
	topic := in.of.Topic
	described, err := in.cluster.describe(ctx, in.client, topic)
	if err != nil {
		return nil, err
	}
	asking, partitions := kadm.NewClient(in.client), described.Partitions.Numbers()
	type ask struct {
		list lister
		set  func(*extent, int64)
	}
	asks := []ask{
		{asking.ListStartOffsets, func(e *extent, at int64) { e.start = at }},
		{asking.ListCommittedOffsets, func(e *extent, at int64) { e.end = at }},
	}
	if in.of.Since != nil {
		asks = append(asks, ask{after(asking, *in.of.Since), func(e *extent, at int64) { e.since = at }})
	}
	if in.of.Until != nil {
		asks = append(asks, ask{after(asking, *in.of.Until), func(e *extent, at int64) { e.until = at }})
	}
	there := make(map[int32]extent, len(partitions))
	for _, ask := range asks {
		offsets, err := in.cluster.offsets(ctx, topic, partitions, ask.list)
		if err != nil {
			return nil, err
		}
		for partition, at := range offsets {
			is := there[partition]
			ask.set(&is, at)
			there[partition] = is
		}
	}
	return there, nil
}

// after lists the offsets of the first records that aren't before a time. Records' times are in
// milliseconds: what is after the beginning of one begins with the next.
func after(asking *kadm.Client, at time.Time) lister {
	return func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return asking.ListOffsetsAfterMilli(ctx, at.Add(time.Millisecond-time.Nanosecond).UnixMilli(), topics...)
	}
}

// Items yields them, from a position on.
func (in *Input) Items(ctx context.Context, from plan.Position) iter.Seq2[*input.Item, error] {
	return func(yield func(*input.Item, error) bool) {
		begun := from.Object == ""
		for _, r := range in.ranges {
			if !begun {
				if r.Object != from.Object {
					continue
				}
				r.From = from.Offset
			}
			begun = true
			for record, err := range in.records(ctx, r) {
				if err != nil {
					yield(nil, err)
					return
				}
				if !yield(in.item(r.Object, record), nil) {
					return
				}
			}
		}
	}
}

func (in *Input) records(ctx context.Context, r plan.Range) iter.Seq2[*kgo.Record, error] {
	partition, err := partitionOf(r.Object)
	if err != nil {
		return func(yield func(*kgo.Record, error) bool) { yield(nil, err) }
	}
	return (&reader{cluster: in.cluster, client: in.client, topic: in.of.Topic, partition: partition}).records(ctx, r.From, r.To)
}

// item is a record's. Its body is a copy, as a record holds all that was read with it.
func (in *Input) item(object string, record *kgo.Record) *input.Item {
	offset := record.Offset
	item := &input.Item{
		Object: object, Offset: &offset, Size: int64(len(record.Value)), ContentType: in.contentType(record),
		End: plan.Position{Object: object, Offset: offset + 1},
	}
	if item.Problem = in.problem(record.Value); item.Problem == "" {
		item.Body = bytes.Clone(record.Value)
	}
	return item
}

// problem is why a record is no request.
func (in *Input) problem(value []byte) string {
	switch {
	case value == nil:
		return "the record has no value"
	case int64(len(value)) > in.bound:
		return fmt.Sprintf("the record is longer than %d bytes", in.bound)
	case in.format == task.Objects:
		return ""
	case len(value) == 0:
		return "the record is empty"
	default:
		return input.NotJSON("record", value)
	}
}

// contentType goes by the record's header, where a record isn't JSON anyway.
func (in *Input) contentType(record *kgo.Record) string {
	if in.format != task.Objects {
		return "application/json"
	}
	for _, header := range record.Headers {
		if strings.EqualFold(header.Key, task.ContentTypeHeader) && httpValue(header.Value) {
			return string(header.Value)
		}
	}
	return "application/octet-stream"
}

// httpValue tells whether a record's header can be one of a request.
func httpValue(value []byte) bool {
	return len(value) > 0 && httpguts.ValidHeaderFieldValue(string(value))
}

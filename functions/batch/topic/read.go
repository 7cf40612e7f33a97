package topic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice.dev/sluice/functions/batch/task"
)

const (
	// fetchBytes is how much is asked for at a time; a batch of records that is larger comes
	// all the same.
	fetchBytes = 1 << 20
	// fetchWait is how long a broker waits for records before it says that there are none.
	fetchWait = 500 * time.Millisecond
	// fetchWithin bounds the wait for its answer.
	fetchWithin = time.Minute
)

// reader reads a partition's committed records by asking its leader.
type reader struct {
	cluster   *cluster
	client    *kgo.Client
	topic     string
	partition int32
	// leader is who leads it, id the topic's; known is false where that has to be asked for.
	leader int32
	id     [16]byte
	known  bool
}

// fetched is an answer.
type fetched struct {
	records []*kgo.Record
	// next is where to go on, stable up to where transactions have ended.
	next, stable int64
}

// records yields what is committed, from an offset up to, and without, another one that the
// partition has reached. Offsets without a record are passed over. It waits for transactions
// that are open before the end.
func (r *reader) records(ctx context.Context, from, to int64) iter.Seq2[*kgo.Record, error] {
	return func(yield func(*kgo.Record, error) bool) {
		for at := from; at < to; {
			answer, err := r.beyond(ctx, at, to)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, record := range answer.records {
				if record.Offset >= to || !yield(record, nil) {
					return
				}
			}
			if answer.next == at {
				return
			}
			at = answer.next
		}
	}
}

var errOpen = errors.New("a transaction that is open keeps what follows from being read")

// beyond asks until an answer leads on, or says that nothing is left before the end.
func (r *reader) beyond(ctx context.Context, at, to int64) (answer fetched, err error) {
	err = r.cluster.try(ctx, func() error {
		if answer, err = r.fetch(ctx, at); err != nil {
			r.known = false
			return fmt.Errorf("reading %s/%d at offset %d: %w", r.topic, r.partition, at, err)
		}
		if answer.next == at && answer.stable < to {
			return fmt.Errorf("reading %s/%d at offset %d: %w", r.topic, r.partition, at, errOpen)
		}
		return nil
	})
	return answer, err
}

// fetch asks once.
func (r *reader) fetch(ctx context.Context, at int64) (fetched, error) {
	if err := r.find(ctx); err != nil {
		return fetched{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	response, err := r.client.Broker(int(r.leader)).Request(ctx, r.request(at))
	if err != nil {
		return fetched{}, err
	}
	answer, ok := response.(*kmsg.FetchResponse)
	if !ok || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		// So a broker answers that bounds how much is read.
		return fetched{}, fmt.Errorf("the broker says nothing of the partition: %w", kerr.ErrorForCode(errorOf(answer)))
	}
	partition := &answer.Topics[0].Partitions[0]
	if err := errors.Join(kerr.ErrorForCode(answer.ErrorCode), r.judge(partition, at)); err != nil {
		return fetched{}, err
	}
	decompressor, _ := r.client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	parsed, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: r.topic, Partition: r.partition,
	}, partition, decompressor, nil)
	if parsed.Err != nil && len(parsed.Records) == 0 && next == at {
		return fetched{}, parsed.Err
	}
	return fetched{records: parsed.Records, next: next, stable: parsed.LastStableOffset}, nil
}

func errorOf(answer *kmsg.FetchResponse) int16 {
	if answer == nil {
		return 0
	}
	return answer.ErrorCode
}

// judge tells what a broker says that doesn't know the partition any more from what is wrong
// for good.
func (r *reader) judge(partition *kmsg.FetchResponseTopicPartition, at int64) error {
	err := kerr.ErrorForCode(partition.ErrorCode)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return task.Final(task.InputChanged, fmt.Errorf(
			"the records of %s/%d from offset %d on aren't there any more: %w; keep them until the run is over (retention.ms, retention.bytes), and start the batch anew",
			r.topic, r.partition, at, err))
	}
	if missing(err) {
		// The next one may know it; where none does, finding it tells.
		return fmt.Errorf("the broker doesn't lead the partition: %s", err.Error())
	}
	return err
}

func (r *reader) request(at int64) *kmsg.FetchRequest {
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = r.partition, at, fetchBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = r.topic, r.id, []kmsg.FetchRequestTopicPartition{partition}
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = int32(fetchWait.Milliseconds()), 1, fetchBytes
	request.IsolationLevel = 1
	// A session would have the broker keep something of each question.
	request.SessionEpoch = -1
	request.Topics = []kmsg.FetchRequestTopic{topic}
	return request
}

// find finds who leads the partition.
func (r *reader) find(ctx context.Context) error {
	if r.known {
		return nil
	}
	found, err := r.cluster.describe(ctx, r.client, r.topic)
	if err != nil {
		return err
	}
	partition, ok := found.Partitions[r.partition]
	if !ok {
		return task.Final(r.cluster.tell.missing, fmt.Errorf("%s: topic %s has no partition %d", r.cluster.tell.at, r.topic, r.partition))
	}
	if partition.Err != nil {
		return partition.Err
	}
	r.leader, r.id, r.known = partition.Leader, found.ID, true
	return nil
}

package topic

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger reads all that the topic of markers says of the batch, up to where it ends now. It
// waits for transactions that are open there: what others have open may come before something
// of ours.
func (o *Output) ledger(ctx context.Context) (*ledger, error) {
	start, end, err := o.markers(ctx, kadm.NewClient(o.client).ListEndOffsets)
	if err != nil {
		return nil, err
	}
	l := &ledger{}
	for record, err := range o.own(ctx, max(start, o.behind), end) {
		if err != nil {
			return nil, err
		}
		if err := l.add(record); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// planned reads up to the plan, or to the first transaction that is open.
func (o *Output) planned(ctx context.Context) (*ledger, error) {
	l := &ledger{}
	start, end, err := o.markers(ctx, kadm.NewClient(o.client).ListCommittedOffsets)
	if err != nil {
		return l, err
	}
	firstPiece := o.owner.key(fmt.Sprintf(pieceKey, 0))
	for record, err := range o.own(ctx, start, end) {
		if err != nil {
			return l, err
		}
		if bytes.Equal(record.Key, firstPiece) {
			o.behind = record.Offset
		}
		if err := l.add(record); err != nil || l.plan != nil {
			return l, err
		}
	}
	return l, nil
}

// markers asks where the topic of markers begins and ends.
func (o *Output) markers(ctx context.Context, list lister) (start, end int64, err error) {
	markers := o.of.Markers()
	starts, err := o.cluster.offsets(ctx, markers, []int32{0}, kadm.NewClient(o.client).ListStartOffsets)
	if err != nil {
		return 0, 0, err
	}
	ends, err := o.cluster.offsets(ctx, markers, []int32{0}, list)
	return starts[0], ends[0], err
}

// own yields the batch's own records of the topic of markers.
func (o *Output) own(ctx context.Context, from, to int64) func(func(*kgo.Record, error) bool) {
	return func(yield func(*kgo.Record, error) bool) {
		for record, err := range (&reader{cluster: o.cluster, client: o.client, topic: o.of.Markers()}).records(ctx, from, to) {
			if (err != nil || o.owner.owns(record)) && !yield(record, err) {
				return
			}
		}
	}
}

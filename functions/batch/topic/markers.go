package topic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// pieceKey is the key of a piece of a plan, by its number.
const pieceKey = "plan-%06d"

// pieceBytes bounds a piece of a plan, which takes a third more in its record, in Base64.
const pieceBytes = 384 << 10

// kept is what a record of the topic of markers holds: a piece of a batch's plan, or the
// tally of a part that is in the output.
type kept struct {
	// Piece counts from 0, Pieces is how many there are; 0 of a marker.
	Piece  int `json:"piece,omitempty"`
	Pieces int `json:"pieces,omitempty"`
	// Plan is what the piece holds of it.
	Plan []byte `json:"plan,omitempty"`
	// First is the part's first item.
	First     int64 `json:"first"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
}

// owner is the batch that records are of.
type owner struct{ namespace, name, uid string }

// record is one of the batch. Its key is no other's, so a topic that keeps the last of each
// key keeps it.
func (o owner) record(topic string, partition int32, key string, value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: o.key(key), Value: value,
		Headers: []kgo.RecordHeader{
			{Key: task.BatchHeader, Value: []byte(o.namespace + "/" + o.name)},
			{Key: task.UIDHeader, Value: []byte(o.uid)},
		},
	}
}

func (o owner) key(of string) []byte { return []byte(o.uid + "-" + of) }

// owns tells whether a record is of the batch.
func (o owner) owns(record *kgo.Record) bool {
	return slices.ContainsFunc(record.Headers, func(h kgo.RecordHeader) bool {
		return h.Key == task.UIDHeader && string(h.Value) == o.uid
	})
}

// marker is a part's.
func (o owner) marker(topic string, first int64, tally output.Tally) (*kgo.Record, error) {
	value, err := json.Marshal(kept{First: first, Succeeded: tally.Succeeded, Failed: tally.Failed})
	if err != nil {
		return nil, fmt.Errorf("writing the marker of item %d: %w", first, err)
	}
	return o.record(topic, 0, fmt.Sprintf("part-%012d", first), value), nil
}

// pieces are a plan's, of so many bytes at most.
func (o owner) pieces(topic string, p *plan.Plan, most int) ([]*kgo.Record, error) {
	content, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing the plan: %w", err)
	}
	cut := slices.Collect(slices.Chunk(content, most))
	records := make([]*kgo.Record, len(cut))
	for i, piece := range cut {
		value, err := json.Marshal(kept{Piece: i, Pieces: len(cut), Plan: piece})
		if err != nil {
			return nil, fmt.Errorf("writing the plan: %w", err)
		}
		records[i] = o.record(topic, 0, fmt.Sprintf(pieceKey, i), value)
	}
	return records, nil
}

// ledger is what the topic of markers says of a batch.
type ledger struct {
	plan    *plan.Plan
	tallies map[int64]output.Tally

	pieces [][]byte
}

// add takes a record of the batch, in the order in which they are.
func (l *ledger) add(record *kgo.Record) error {
	var k kept
	if err := json.Unmarshal(record.Value, &k); err != nil {
		return l.strange(record, err)
	}
	if k.Pieces == 0 {
		if l.tallies == nil {
			l.tallies = map[int64]output.Tally{}
		}
		l.tallies[k.First] = output.Tally{Succeeded: k.Succeeded, Failed: k.Failed}
		return nil
	}
	if l.plan != nil {
		return nil
	}
	if k.Piece != len(l.pieces) {
		return l.strange(record, fmt.Errorf("it is piece %d of the plan, and follows %d", k.Piece, len(l.pieces)))
	}
	if l.pieces = append(l.pieces, k.Plan); len(l.pieces) < k.Pieces {
		return nil
	}
	l.plan = &plan.Plan{}
	if err := json.Unmarshal(bytes.Join(l.pieces, nil), l.plan); err != nil {
		return l.strange(record, err)
	}
	l.pieces = nil
	return nil
}

func (l *ledger) strange(record *kgo.Record, err error) error {
	return task.Final(task.OutputInUse, fmt.Errorf(
		"the record of topic %s at offset %d isn't what a worker wrote there: %w; let nobody else write to that topic, or have it keep records until runs are over, and start the batch anew",
		record.Topic, record.Offset, err))
}

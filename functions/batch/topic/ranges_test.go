package topic

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

func TestRanges(t *testing.T) {
	some := func(n int64) *int64 { return &n }
	now := time.Now()
	there := map[int32]extent{0: {start: 10, end: 20, since: 15, until: 18}, 1: {start: 0, end: 0}, 2: {start: 5, end: 9, since: 9, until: 9}, 10: {end: 3, since: 0, until: 2}}
	for _, tc := range []struct {
		name string
		in   task.KafkaInput
		want []plan.Range
		err  string
	}{
		{name: "all that is there, in the order of the partitions", want: []plan.Range{{Object: "rows/0", From: 10, To: 20}, {Object: "rows/2", From: 5, To: 9}, {Object: "rows/10", From: 0, To: 3}}},
		{name: "since", in: task.KafkaInput{Since: &now}, want: []plan.Range{{Object: "rows/0", From: 15, To: 20}, {Object: "rows/10", From: 0, To: 3}}},
		{name: "until", in: task.KafkaInput{Until: &now}, want: []plan.Range{{Object: "rows/0", From: 10, To: 18}, {Object: "rows/2", From: 5, To: 9}, {Object: "rows/10", From: 0, To: 2}}},
		{name: "since and until", in: task.KafkaInput{Since: &now, Until: &now}, want: []plan.Range{{Object: "rows/0", From: 15, To: 18}, {Object: "rows/10", From: 0, To: 2}}},
		{
			name: "some partitions", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 2, From: some(6), To: some(8)}, {Partition: 0, To: some(11)}}},
			want: []plan.Range{{Object: "rows/0", From: 10, To: 11}, {Object: "rows/2", From: 6, To: 8}},
		},
		{name: "from the end on there is nothing", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 0, From: some(20)}}}, want: []plan.Range{}},
		{name: "nothing is there", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 1}}}, want: []plan.Range{}},
		{name: "no partition", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 3}}}, err: "InputMissing true: reading the input: topic rows has no partition 3"},
		{name: "gone", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 0, From: some(9)}}}, err: "of rows/0 the offsets from 10 up to 20 are there, not those from 9 up to 20"},
		{name: "gone, all of it", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 0, To: some(9)}}}, want: []plan.Range{}},
		{name: "not there yet", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 0, To: some(21)}}}, err: "not those from 10 up to 21; correct input.kafka.partitions"},
		{name: "behind the end", in: task.KafkaInput{Partitions: []task.KafkaRange{{Partition: 0, From: some(21)}}}, err: "not those from 21 up to 20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.Topic = "rows"
			got, err := rangesOf(&tc.in, there)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(fmt.Sprint(reasonOf(err), ": ", err), tc.err) {
				t.Fatalf("got %v, want %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error("(-want, +got):", diff)
			}
		})
	}
	many := map[int32]extent{}
	for partition := range int32(maxPartitions + 1) {
		many[partition] = extent{end: 1}
	}
	if _, err := rangesOf(&task.KafkaInput{}, many); reasonOf(err) != "InputUnreadable true" {
		t.Error("of too many partitions:", err)
	}
	for object, want := range map[string]bool{"rows/0": true, "rows/4999": true, "rows": false, "rows/x": false, "rows/3000000000": false} {
		partition, err := partitionOf(object)
		if (err == nil) != want || want && name("rows", partition) != object {
			t.Errorf("%s is partition %d, %v", object, partition, err)
		}
	}
}

package topic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/batch/worker"
)

func produced(t fataler, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// together produces records in a transaction, which is committed or aborted.
func together(t fataler, client *kgo.Client, end kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produced(t, client, records...)
	if err := client.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

func fixed(t fataler, in *Input) []plan.Range {
	t.Helper()
	ranges, err := in.Fix(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

func TestItems(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "rows"))
	client := asking(t, c.ListenAddrs())
	header := func(value string) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: "Content-Type", Value: []byte(value)}}
	}
	produced(
		t, client,
		&kgo.Record{Topic: "rows", Value: []byte(`{"a": 1}`), Headers: header("text/plain")},
		&kgo.Record{Topic: "rows", Key: []byte("k")},
		&kgo.Record{Topic: "rows", Value: []byte{}},
		&kgo.Record{Topic: "rows", Value: []byte(`{"a":`)},
		&kgo.Record{Topic: "rows", Value: []byte("\"\xe9\""), Headers: header("image/png")},
		&kgo.Record{Topic: "rows", Value: []byte(strings.Repeat("7", 20))},
		&kgo.Record{Topic: "rows", Value: []byte(strings.Repeat("7", 21)), Headers: header("a\nb")},
		&kgo.Record{Topic: "rows", Value: []byte("[1,\n2]")},
	)
	type seen struct{ Body, ContentType, Problem string }
	for format, want := range map[task.Format][]seen{
		task.Lines: {
			{`{"a": 1}`, "application/json", ""},
			{"", "application/json", "the record has no value"},
			{"", "application/json", "the record is empty"},
			{"", "application/json", "the record isn't JSON: unexpected end of JSON input at column 5"},
			{"", "application/json", "the record isn't UTF-8: byte 0xe9 at column 2"},
			{strings.Repeat("7", 20), "application/json", ""},
			{"", "application/json", "the record is longer than 20 bytes"},
			{"[1,\n2]", "application/json", ""},
		},
		task.Objects: {
			{`{"a": 1}`, "text/plain", ""},
			{"", "application/octet-stream", "the record has no value"},
			{"", "application/octet-stream", ""},
			{`{"a":`, "application/octet-stream", ""},
			{"\"\xe9\"", "image/png", ""},
			{strings.Repeat("7", 20), "application/octet-stream", ""},
			{"", "application/octet-stream", "the record is longer than 20 bytes"},
			{"[1,\n2]", "application/octet-stream", ""},
		},
	} {
		from := described(c.ListenAddrs()...)
		from.Format, from.Bounds.ItemBytes = format, 20
		in := openedInput(t, from)
		fixed(t, in)
		var got []seen
		for item, err := range in.Items(t.Context(), plan.Position{}) {
			if err != nil {
				t.Fatal(err)
			}
			if item.Object != "rows/0" || *item.Offset != int64(len(got)) || item.Line != 0 || (item.End != plan.Position{Object: "rows/0", Offset: int64(len(got) + 1)}) {
				t.Errorf("item %d is %+v", len(got), item)
			}
			got = append(got, seen{string(item.Body), item.ContentType, item.Problem})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want, +got): %s", format, diff)
		}
	}
}

// Whatever is in a partition, what is read is what is committed within the ranges, to its end
// and no further; and from behind any item on it is what followed.
func TestWhatIsCommittedIsRead(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(3))
	brokers := c.ListenAddrs()
	client := asking(t, brokers)
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		topic := fmt.Sprintf("rows-%d", number)
		made(t, client, 3, map[string]string{"cleanup.policy": "compact", "delete.retention.ms": "0"}, topic)
		defer func() { _, _ = kadm.NewClient(client).DeleteTopics(context.Background(), topic) }()
		transactional := asking(t, brokers, kgo.TransactionalID(topic))
		defer transactional.Close()
		aborted := false
		for range rapid.IntRange(0, 6).Draw(rt, "batches") {
			var records []*kgo.Record
			for range rapid.IntRange(1, 4).Draw(rt, "records") {
				record := &kgo.Record{Topic: topic, Partition: rapid.Int32Range(0, 2).Draw(rt, "partition"), Key: []byte{byte(rapid.IntRange(0, 2).Draw(rt, "key"))}}
				if rapid.IntRange(0, 3).Draw(rt, "tombstone") > 0 {
					record.Value = fmt.Append(nil, len(records))
				}
				records = append(records, record)
			}
			switch rapid.IntRange(0, 2).Draw(rt, "how") {
			case 0:
				produced(rt, client, records...)
			case 1:
				together(rt, transactional, kgo.TryCommit, records...)
			default:
				together(rt, transactional, kgo.TryAbort, records...)
				aborted = true
			}
			// What kfake compacts away of an aborted transaction it still tells of as aborted, but
			// without the marker that ends it, which a broker doesn't: so whatever the producer
			// commits later would be taken for aborted.
			if rapid.IntRange(0, 3).Draw(rt, "compact") == 0 && !aborted {
				c.Compact()
			}
			if rapid.IntRange(0, 3).Draw(rt, "move") == 0 {
				c.ShufflePartitionLeaders()
			}
		}
		from := described(brokers...)
		from.Input.Kafka.Topic = topic
		in := openedInput(t, from)
		defer in.Close()
		ranges := fixed(rt, in)
		want := consumed(rt, brokers, topic)
		items := all(rt, in, plan.Position{})
		if diff := cmp.Diff(want, offsets(items), cmpopts.EquateEmpty()); diff != "" {
			rt.Fatal("(-want, +got):", diff)
		}
		// What is written later isn't read.
		produced(rt, client, &kgo.Record{Topic: topic, Value: []byte("1")}, &kgo.Record{Topic: topic, Partition: 2, Value: []byte("1")})
		again := openedInput(t, from)
		defer again.Close()
		if _, err := again.Fix(rt.Context(), ranges); err != nil {
			rt.Fatal(err)
		}
		for i := -1; i < len(items); i++ {
			at := plan.Position{}
			if i >= 0 {
				at = items[i].End
			}
			if len(ranges) == 0 {
				continue
			}
			if diff := cmp.Diff(items[i+1:], all(rt, again, at), cmpopts.EquateEmpty()); diff != "" {
				rt.Fatalf("from %s on (-want, +got): %s", at, diff)
			}
		}
	})
}

func offsets(items []read) (at []string) {
	for _, item := range items {
		at = append(at, fmt.Sprint(item.Object, " ", item.Offset))
	}
	return at
}

// consumed is what a consumer reads that knows when it has read all: a record behind it says.
func consumed(t fataler, brokers []string, topic string) (at []string) {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, quick...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for partition := range ends[topic] {
		produced(t, client, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("the end"), Value: []byte("the end")})
	}
	of := map[int32][]string{}
	for left := len(ends[topic]); left > 0; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) == "the end" {
				left--
				return
			}
			of[r.Partition] = append(of[r.Partition], fmt.Sprint(topic, "/", r.Partition, " ", r.Offset))
		})
	}
	for _, partition := range slices.Sorted(func(yield func(int32) bool) {
		for p := range of {
			if !yield(p) {
				return
			}
		}
	}) {
		at = append(at, of[partition]...)
	}
	return at
}

// A compaction takes items away that were planned; that ends a run.
func TestCompactedInput(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.SeedTopics(1, "scores", "errors"))
	client := asking(t, c.ListenAddrs())
	made(t, client, 1, map[string]string{"cleanup.policy": "compact"}, "rows")
	for _, key := range []string{"b", "a", "a", "c"} {
		produced(t, client, &kgo.Record{Topic: "rows", Key: []byte(key), Value: []byte("1")})
	}
	of := described(c.ListenAddrs()...)
	of.Bounds.PartItems = 2
	r := run{task: of, folder: t.TempDir()}
	in, o := openedInput(t, of), openedOutput(t, of)
	if _, err := worker.Plan(t.Context(), of, in, o); err != nil {
		t.Fatal(err)
	}
	c.Compact()
	_, err := r.work(t.Context(), (&net.Dialer{}).DialContext, &fickle{life: &life{}, random: rand.New(rand.NewPCG(0, 0))})
	if reasonOf(err) != "InputChanged true" || !strings.Contains(err.Error(), "items 0 to 1 don't end at offset 2 of rows/0") {
		t.Error(err)
	}
}

// What is read by time is what has such timestamps.
func TestSinceAndUntil(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "rows"))
	client := asking(t, c.ListenAddrs())
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10 {
		produced(t, client, &kgo.Record{Topic: "rows", Value: []byte("1"), Timestamp: begin.Add(time.Duration(i) * time.Second)})
	}
	at := func(of time.Duration) *time.Time { moment := begin.Add(of); return &moment }
	for _, tc := range []struct {
		since, until *time.Time
		want         []plan.Range
	}{
		{nil, nil, []plan.Range{{Object: "rows/0", From: 0, To: 10}}},
		{at(3 * time.Second), nil, []plan.Range{{Object: "rows/0", From: 3, To: 10}}},
		{at(3*time.Second + time.Nanosecond), at(7 * time.Second), []plan.Range{{Object: "rows/0", From: 4, To: 7}}},
		{nil, at(time.Hour), []plan.Range{{Object: "rows/0", From: 0, To: 10}}},
		{at(-time.Hour), at(0), []plan.Range{}},
		{at(time.Hour), nil, []plan.Range{}},
	} {
		from := described(c.ListenAddrs()...)
		from.Input.Kafka.Since, from.Input.Kafka.Until = tc.since, tc.until
		if diff := cmp.Diff(tc.want, fixed(t, openedInput(t, from))); diff != "" {
			t.Errorf("since %v until %v (-want, +got): %s", tc.since, tc.until, diff)
		}
	}
}

// What went after it was planned, and what can't be read, ends a run; so does a topic that
// isn't there.
func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.SeedTopics(1, "rows", "huge"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": fmt.Sprint(90 << 20)}))
	client := asking(t, c.ListenAddrs(), kgo.ProducerBatchMaxBytes(90<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	compressing := asking(t, c.ListenAddrs(), kgo.ProducerBatchMaxBytes(90<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	produced(t, client, &kgo.Record{Topic: "rows", Value: []byte("1")}, &kgo.Record{Topic: "rows", Value: []byte("2")})
	from := described(c.ListenAddrs()...)
	from.Retry.Patience = task.Duration(time.Second)
	gone := openedInput(t, from)
	fixed(t, gone)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), kadm.Offsets{"rows": {0: {Topic: "rows", At: 1}}}); err != nil {
		t.Fatal(err)
	}
	try := func(in *Input) error {
		if in.ranges == nil {
			if _, err := in.Fix(t.Context(), nil); err != nil {
				return err
			}
		}
		for _, err := range in.Items(t.Context(), plan.Position{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := try(gone); reasonOf(err) != "InputChanged true" || !strings.Contains(err.Error(), "rows/0 from offset 0 on") {
		t.Error("what has gone:", err)
	}
	from.Input.Kafka.Topic = "none"
	if err := try(openedInput(t, from)); reasonOf(err) != "InputMissing true" || !strings.Contains(err.Error(), "topic none") {
		t.Error("no topic:", err)
	}
	from.Input.Kafka.Topic = "huge"
	produced(t, compressing, &kgo.Record{Topic: "huge", Value: make([]byte, 80<<20)})
	if err := try(openedInput(t, from)); reasonOf(err) != "InputUnreadable true" {
		t.Error("a batch that would take too much memory:", err)
	}
	produced(t, client, &kgo.Record{Topic: "huge", Value: make([]byte, 40<<20)})
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), kadm.Offsets{"huge": {0: {Topic: "huge", At: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := try(openedInput(t, from)); reasonOf(err) != "InputUnreadable true" {
		t.Error("a batch that is too large:", err)
	}
	from.Input.Kafka.Brokers = []string{"127.0.0.1:1"}
	if err := try(openedInput(t, from)); reasonOf(err) != "StoreAway false" {
		t.Error("nobody is there:", err)
	}
}

package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

func claimed(t *testing.T, to *task.Task) *Output {
	t.Helper()
	o := openedOutput(t, to)
	if err := o.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

func settledBy(t *testing.T, o *Output, shard int, parts []plan.Part) map[int64]output.Tally {
	t.Helper()
	settled, err := o.Settled(t.Context(), shard, parts)
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

// spooled are records of a part, of which some have failed.
func spooled(t *testing.T, part plan.Part, limit output.Limit, failed ...int64) *output.Spool {
	t.Helper()
	spool, err := output.NewSpool(t.TempDir(), part, 64<<20, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spool.Close() })
	for i := part.First + part.Items - 1; i >= part.First; i-- {
		record := &output.Record{Item: i, Status: 200, Response: fmt.Append(nil, i)}
		if slices.Contains(failed, i) {
			record.Reason, record.Response = "no", nil
		}
		if err := spool.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	return spool
}

func commit(t *testing.T, o *Output, spool *output.Spool) output.Tally {
	t.Helper()
	tally, err := o.Commit(t.Context(), spool)
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

func values(records []*kgo.Record) (texts []string) {
	for _, record := range records {
		texts = append(texts, string(record.Value))
	}
	return texts
}

// Two batches write to one topic, each in its shards' partitions, and find their own again.
func TestCommit(t *testing.T) {
	c := fake(t, kfake.SeedTopics(3, "scores"), kfake.SeedTopics(1, "errors"))
	client := asking(t, c.ListenAddrs())
	parts := []plan.Part{{First: 0, Items: 3}, {First: 3, Items: 2}, {First: 5, Items: 1}}
	one, other := described(c.ListenAddrs()...), described(c.ListenAddrs()...)
	other.Name, other.UID = "weekly", "u-2"
	o := claimed(t, one)
	if settled := settledBy(t, o, 4, parts); len(settled) > 0 {
		t.Errorf("nothing is there, but %v", settled)
	}
	got := []output.Tally{commit(t, o, spooled(t, parts[0], o.Limit(), 1)), commit(t, o, spooled(t, parts[1], o.Limit()))}
	if want := []output.Tally{{Succeeded: 2, Failed: 1}, {Succeeded: 2}}; !slices.Equal(got, want) {
		t.Errorf("committed %+v, want %+v", got, want)
	}
	p := claimed(t, other)
	settledBy(t, p, 1, parts)
	commit(t, p, spooled(t, parts[0], p.Limit(), 0, 1, 2))

	records := committed(t, client, "scores", 1)
	want := []string{
		`{"item":0,"status":200,"response":0}`, `{"item":1,"status":200,"reason":"no"}`, `{"item":2,"status":200,"response":2}`,
		`{"item":3,"status":200,"response":3}`, `{"item":4,"status":200,"response":4}`,
		`{"item":0,"status":200,"reason":"no"}`, `{"item":1,"status":200,"reason":"no"}`, `{"item":2,"status":200,"reason":"no"}`,
	}
	if diff := cmp.Diff(want, values(records)); diff != "" {
		t.Error("results (-want, +got):", diff)
	}
	if got := string(records[3].Key); got != "u-1-3" {
		t.Errorf("the key of item 3 is %s", got)
	}
	headers := []kgo.RecordHeader{{Key: "sluice-batch", Value: []byte("team/weekly")}, {Key: "sluice-batch-uid", Value: []byte("u-2")}}
	if diff := cmp.Diff(headers, records[5].Headers); diff != "" {
		t.Error("headers (-want, +got):", diff)
	}
	if diff := cmp.Diff([]string{want[1], want[5], want[6], want[7]}, values(committed(t, client, "errors", 0))); diff != "" {
		t.Error("errors (-want, +got):", diff)
	}
	again := claimed(t, one)
	if diff := cmp.Diff(map[int64]output.Tally{0: {Succeeded: 2, Failed: 1}, 3: {Succeeded: 2}}, settledBy(t, again, 4, parts)); diff != "" {
		t.Error("settled (-want, +got):", diff)
	}
	// A shard's own parts are all that it is told of.
	if some := settledBy(t, again, 4, parts[1:]); len(some) != 1 {
		t.Errorf("of two parts there are %v", some)
	}
	// Nor does it put again what is there.
	if got := commit(t, again, spooled(t, parts[0], again.Limit())); got != (output.Tally{Succeeded: 2, Failed: 1}) {
		t.Errorf("of a part that was there, there is %+v", got)
	}
}

// What another batch has open comes before a marker; that is seen all the same.
func TestOpenTransactionsAreWaitedFor(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.SeedTopics(1, "scores", "errors"))
	parts := []plan.Part{{Items: 1}}
	first, next := claimed(t, described(c.ListenAddrs()...)), claimed(t, described(c.ListenAddrs()...))
	if _, err := first.SavePlan(t.Context(), &plan.Plan{Items: 1}); err != nil {
		t.Fatal(err)
	}
	settledBy(t, first, 0, parts)
	other := asking(t, c.ListenAddrs(), kgo.TransactionalID("other"), kgo.TransactionTimeout(10*time.Minute))
	if err := other.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produced(t, other, &kgo.Record{Topic: "scores.batches", Value: []byte("open")})
	commit(t, first, spooled(t, parts[0], first.Limit()))
	// A plan that comes before it is read at once.
	if p, err := next.Plan(t.Context()); err != nil || p == nil {
		t.Errorf("the plan is %v, %v", p, err)
	}
	done := make(chan map[int64]output.Tally, 1)
	go func() {
		settled, err := next.Settled(t.Context(), 0, parts)
		if err != nil {
			t.Error(err)
		}
		done <- settled
	}()
	if err := other.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if settled := <-done; len(settled) != 1 {
		t.Errorf("settled are %v", settled)
	}
}

// A worker whose shard another one has begun puts nothing more.
func TestDoubledWorkers(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "scores", "errors"))
	part := plan.Part{Items: 2}
	slow, quick := claimed(t, described(c.ListenAddrs()...)), claimed(t, described(c.ListenAddrs()...))
	settledBy(t, slow, 0, []plan.Part{part})
	settledBy(t, quick, 0, []plan.Part{part})
	if _, err := slow.Commit(t.Context(), spooled(t, part, slow.Limit(), 1)); reasonOf(err) != "Interrupted false" {
		t.Error("a worker that was doubled says", err)
	}
	if got := commit(t, quick, spooled(t, part, quick.Limit())); got != (output.Tally{Succeeded: 2}) {
		t.Errorf("committed %+v", got)
	}
	if got := len(committed(t, asking(t, c.ListenAddrs()), "scores", 0)); got != 2 {
		t.Errorf("there are %d records of 2 items", got)
	}
}

// The first plan is kept, however large it is.
func TestPlanIsKept(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "scores", "errors"))
	o := claimed(t, described(c.ListenAddrs()...))
	if kept, err := o.Plan(t.Context()); kept != nil || err != nil {
		t.Errorf("before there is one: %+v, %v", kept, err)
	}
	first := &plan.Plan{Items: 3, Parts: []plan.Part{{Items: 3, Bytes: 9}}, Shards: []plan.Shard{{To: 1}}, Ranges: []plan.Range{{Object: "rows/0", To: 3}}}
	for range plan.MaxParts - 1 {
		first.Parts = append(first.Parts, plan.Part{First: rand.Int64(), Items: rand.Int64(), At: plan.Position{Object: strings.Repeat("o", 200), Offset: rand.Int64()}})
	}
	for _, p := range []*plan.Plan{first, {Items: 5}} {
		kept, err := o.SavePlan(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, kept); diff != "" {
			t.Error("kept (-want, +got):", diff)
		}
	}
	again := claimed(t, described(c.ListenAddrs()...))
	kept, err := again.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, kept); diff != "" {
		t.Error("read (-want, +got):", diff)
	}
	for i, record := range committed(t, asking(t, c.ListenAddrs()), "scores.batches", 0) {
		if len(record.Value) > 513<<10 {
			t.Errorf("piece %d takes %d bytes", i, len(record.Value))
		}
	}
}

// What others wrote to the topic of markers, or what it has lost, isn't taken for a plan.
func TestStrangeMarkers(t *testing.T) {
	for name, values := range map[string][]string{
		"no JSON":            {"x"},
		"no plan":            {`{"pieces":1,"plan":"eHg="}`},
		"a piece is lacking": {`{"piece":1,"pieces":2,"plan":"e30="}`},
	} {
		t.Run(name, func(t *testing.T) {
			l := &ledger{}
			var err error
			for i, value := range values {
				if err == nil {
					err = l.add(&kgo.Record{Topic: "scores.batches", Offset: int64(i), Value: []byte(value)})
				}
			}
			if reasonOf(err) != "OutputInUse true" || !strings.Contains(err.Error(), "topic scores.batches at offset 0") {
				t.Error(err)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	small := map[string]string{"max.message.bytes": "20000"}
	for _, tc := range []struct {
		name  string
		setUp func(*testing.T, *kfake.Cluster, *kgo.Client)
		want  string
		says  string
		limit int64
	}{
		{"all are there", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) {
			made(t, c, 2, nil, "scores", "errors", "scores.batches")
		}, "<nil>", "topic scores", 1<<20 + 12 - headroom},
		{"that of markers is made", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) { made(t, c, 1, nil, "scores", "errors") }, "<nil>", "topic scores", 1<<20 + 12 - headroom},
		{"no topic", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) { made(t, c, 1, nil, "errors") }, "OutputMissing true", "topic scores", 0},
		{"no topic of errors", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) { made(t, c, 1, nil, "scores") }, "OutputMissing true", "topic errors", 0},
		{"little room", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) {
			made(t, c, 1, nil, "scores")
			made(t, c, 1, small, "errors")
		}, "<nil>", "topic errors", 20000 - headroom},
		{"no room", func(t *testing.T, _ *kfake.Cluster, c *kgo.Client) {
			made(t, c, 1, map[string]string{"max.message.bytes": "2000"}, "scores")
			made(t, c, 1, nil, "errors")
		}, "StoreRefused true", "raise its max.message.bytes to 16384", 0},
		{"that of markers can't be made", func(t *testing.T, f *kfake.Cluster, c *kgo.Client) {
			made(t, c, 1, nil, "scores", "errors")
			f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Topic: "scores.batches", Err: kerr.TopicAuthorizationFailed, Count: -1})
		}, "OutputMissing true", "make it: kafka-topics.sh --create --topic scores.batches --partitions 1 --config cleanup.policy=compact,delete", 0},
		{"settings are nobody's business", func(t *testing.T, f *kfake.Cluster, c *kgo.Client) {
			made(t, c, 1, nil, "scores", "errors")
			f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		}, "<nil>", "topic scores", 1<<20 - headroom},
		{"refused", func(t *testing.T, f *kfake.Cluster, c *kgo.Client) {
			made(t, c, 1, nil, "scores", "errors")
			f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "scores", Err: kerr.TopicAuthorizationFailed, Count: -1})
		}, "StoreRefused true", "TOPIC_AUTHORIZATION_FAILED", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := fake(t)
			tc.setUp(t, f, asking(t, f.ListenAddrs()))
			to := described(f.ListenAddrs()...)
			to.Retry.Patience = task.Duration(1e9)
			o := openedOutput(t, to)
			err := o.Claim(t.Context())
			if got := reasonOf(err); got != tc.want {
				t.Fatalf("got %s, %v; want %s", got, err, tc.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("it says %v, want %s", err, tc.says)
				}
				return
			}
			if limit := o.Limit(); limit.RecordBytes != tc.limit || !strings.Contains(limit.Remedy, tc.says) {
				t.Errorf("there is room for %+v, want %d bytes of %s", limit, tc.limit, tc.says)
			}
		})
	}
}

// A record that a topic has no room for is that of an item that has failed; the largest one
// that it has room for is there.
func TestRoom(t *testing.T) {
	f := fake(t)
	client := asking(t, f.ListenAddrs())
	made(t, client, 1, map[string]string{"max.message.bytes": "20000"}, "scores", "errors")
	o := claimed(t, described(f.ListenAddrs()...))
	part := plan.Part{Items: 2}
	settledBy(t, o, 0, []plan.Part{part})
	spool, err := output.NewSpool(t.TempDir(), part, 64<<20, o.Limit())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spool.Close() }()
	empty, err := json.Marshal(output.Record{Response: []byte(`""`)})
	if err != nil {
		t.Fatal(err)
	}
	fits := int(o.Limit().RecordBytes) - len(empty) - 1
	for item, size := range []int{fits, fits + 1} {
		text := make([]byte, size)
		for i := range text {
			text[i] = 'a' + byte(rand.IntN(26))
		}
		if err := spool.Add(&output.Record{Item: int64(item), Response: []byte(`"` + string(text) + `"`)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := commit(t, o, spool); got != (output.Tally{Succeeded: 1, Failed: 1}) {
		t.Errorf("committed %+v", got)
	}
	records := values(committed(t, client, "scores", 0))
	if len(records) != 2 || len(records[0]) != int(o.Limit().RecordBytes)-1 || !strings.Contains(records[1], "raise max.message.bytes of topic scores") {
		t.Errorf("there are %d records, the last of them %s", len(records), records[len(records)-1])
	}
}

// The brokers' word is told with what is to be done.
func TestTold(t *testing.T) {
	for _, tc := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		want string
		says string
	}{
		{kmsg.InitProducerID, kerr.TransactionalIDAuthorizationFailed, "StoreRefused true", "taking transactional ID sluice-u-1-0"},
		{kmsg.InitProducerID, kerr.InvalidTransactionTimeout, "StoreRefused true", "raise transaction.max.timeout.ms"},
		{kmsg.Produce, kerr.TopicAuthorizationFailed, "StoreRefused true", "writing to topic scores"},
		{kmsg.Produce, kerr.MessageTooLarge, "StoreRefused true", "raise max.message.bytes"},
		{kmsg.EndTxn, kerr.ProducerFenced, "Interrupted false", "another worker has begun the shard"},
		{kmsg.EndTxn, kerr.InvalidProducerEpoch, "Interrupted false", "another worker has begun the shard"},
	} {
		t.Run(fmt.Sprint(tc.key.Name(), " ", tc.err.Message), func(t *testing.T) {
			f := fake(t, kfake.SeedTopics(1, "scores", "errors"))
			f.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err, Count: -1, TopLevel: tc.key != kmsg.Produce})
			o := claimed(t, described(f.ListenAddrs()...))
			part := plan.Part{Items: 1}
			_, err := o.Settled(t.Context(), 0, []plan.Part{part})
			if err == nil {
				_, err = o.Commit(t.Context(), spooled(t, part, o.Limit()))
			}
			if got := reasonOf(err); got != tc.want || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %s, %v; want %s, %s", got, err, tc.want, tc.says)
			}
		})
	}
}

// A request that the client ends, as that of a transaction that took too long, isn't a word to
// the worker that it is to end.
func TestRequestsThatTheClientEnds(t *testing.T) {
	c := &cluster{patience: 1, tell: teller{"at the output", task.OutputMissing}}
	ended := func() error { return fmt.Errorf("writing to topic scores: %w", context.Canceled) }
	if err := c.try(t.Context(), ended); reasonOf(err) != "StoreAway false" || errors.Is(err, context.Canceled) {
		t.Error("while the worker goes on it is told", err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if err := c.try(over, ended); !errors.Is(err, context.Canceled) {
		t.Error("once the worker was told to end, it is told", err)
	}
}

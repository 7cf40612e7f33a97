//go:build e2e

package topic

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/test/stores"
)

// realBroker is one, and what makes topics there that go with the test.
func realBroker(t *testing.T) ([]string, func(topics ...string)) {
	t.Helper()
	broker, err := stores.FindBroker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := asking(t, []string{broker})
	return []string{broker}, func(topics ...string) {
		made(t, client, 2, nil, topics...)
		t.Cleanup(func() {
			for _, topic := range topics {
				_, _ = kadm.NewClient(client).DeleteTopics(context.Background(), topic, topic+task.MarkersSuffix)
			}
		})
	}
}

// named is a task at topics of its own.
func named(t *testing.T, brokers []string, create func(topics ...string), name string) *task.Task {
	t.Helper()
	of := described(brokers...)
	at := func(what string) string { return fmt.Sprintf("%s-%s-%s", what, unique, name) }
	of.Input.Kafka.Topic, of.Output.Kafka.Topic, of.Output.Kafka.ErrorTopic = at("rows"), at("scores"), at("errors")
	create(of.Input.Kafka.Topic, of.Output.Kafka.Topic, of.Output.Kafka.ErrorTopic)
	return of
}

func TestRealKilledAtEveryStep(t *testing.T) {
	brokers, create := realBroker(t)
	killedAtEveryStep(t, brokers, create)
}

// Of two workers one stands still at some step until the other is done; it puts nothing more.
func TestRealDoubledWorkers(t *testing.T) {
	brokers, create := realBroker(t)
	client := asking(t, brokers)
	for pause := int64(20); pause < 100; pause += 8 {
		r := walked(t, client, brokers, create, fmt.Sprint("doubled-", pause))
		var workers sync.WaitGroup
		tallies, errs := [2]output.Tally{}, [2]error{}
		for i := range 2 {
			workers.Go(func() {
				if i == 0 {
					defer close(r.first)
				}
				tallies[i], errs[i] = r.survive(schedule{pause: pause, seed: uint64(i)}, i == 0)
			})
		}
		workers.Wait()
		if err := errors.Join(errs[:]...); err != nil || tallies[0] != tallies[1] {
			t.Fatalf("standing still at step %d: %+v, %v", pause, tallies, err)
		}
		checkRecords(t, client, r.task, walkedItems, tallies[0])
	}
}

// What a log cleaner and aborted transactions leave is read to its end.
func TestRealGaps(t *testing.T) {
	brokers, create := realBroker(t)
	client := asking(t, brokers)
	of := named(t, brokers, create, "gaps")
	topic := of.Input.Kafka.Topic
	settings := []kadm.AlterConfig{}
	for name, value := range map[string]string{"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0"} {
		settings = append(settings, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	if answers, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), settings, topic); err != nil || answers[0].Err != nil {
		t.Fatal(err, answers)
	}
	transactional := asking(t, brokers, kgo.TransactionalID(topic))
	record := func(key, value string) *kgo.Record {
		r := &kgo.Record{Topic: topic, Key: []byte(key)}
		if value != "" {
			r.Value = []byte(value)
		}
		return r
	}
	produced(t, client, record("a", "1"), record("a", "2"), record("b", "3"))
	together(t, transactional, kgo.TryAbort, record("a", "4"), record("c", "5"))
	produced(t, client, record("d", "6"), record("d", ""))
	const cleaned = 8
	in := openedInput(t, of)
	within := int64(cleaned)
	whole := []plan.Range{{Object: name(topic, 0), To: within}}
	for deadline := time.Now().Add(3 * time.Minute); ; {
		// Segments end when something is written once they are old enough.
		time.Sleep(time.Second)
		produced(t, client, record("z", "7"))
		if _, err := in.Fix(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		bodies := []string{}
		for _, item := range all(t, in, plan.Position{}) {
			bodies = append(bodies, item.Body+item.Problem)
		}
		if slices.Equal(bodies, []string{"2", "3"}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log isn't cleaned: %q", bodies)
		}
	}
	together(t, transactional, kgo.TryAbort, record("a", "8"), record("c", "9"))
	last := openedInput(t, of)
	fixed(t, last)
	want := consumed(t, brokers, topic)
	if diff := cmp.Diff(want, offsets(all(t, last, plan.Position{})), cmpopts.EquateEmpty()); diff != "" {
		t.Error("(-want, +got):", diff)
	}
}

const (
	awayFor = 30 * time.Second
	large   = 128 << 20
	// resident is what reading and writing may take of memory, whatever they read and write.
	resident = 96 << 20
)

// A broker that is away for half a minute costs nothing but the time, in the middle of
// reading as of a commit; and neither takes more memory the more there is.
func TestRealBrokerIsAway(t *testing.T) {
	brokers, create := realBroker(t)
	proxy, err := stores.NewProxy(context.Background(), brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Away)
	// Brokers say where they are; whoever is told so is led through the proxy all the same.
	through := kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, proxy.Address())
	})
	of := named(t, brokers, create, "away")
	of.Retry.Patience = task.Duration(5 * time.Minute)
	client := asking(t, brokers, kgo.ProducerBatchMaxBytes(900<<10), kgo.MaxBufferedBytes(8<<20))
	const each = 64 << 10
	for range large / each {
		client.Produce(t.Context(), &kgo.Record{Topic: of.Input.Kafka.Topic, Value: []byte(`"` + text(each) + `"`)}, nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	part := plan.Part{Items: large / each}
	writes := &writing{topic: of.Output.Kafka.Topic, begun: make(chan struct{})}
	in, o := prepared(t, of, part, through, kgo.WithHooks(writes))
	spool := full(t, part, o.Limit(), each)
	begun := time.Now()
	reading, ended := make(chan struct{}), make(chan struct{})
	read := sync.OnceFunc(func() { close(reading) })
	var work sync.WaitGroup
	work.Go(func() {
		defer read()
		readAll(t, in, part.Items, func() {
			read()
			select {
			case <-writes.begun:
			case <-ended:
			}
			proxy.Away()
			select {
			case <-ended:
				t.Error("the broker went away once all was committed, not in the middle of it")
			default:
			}
			time.AfterFunc(awayFor, func() {
				if err := proxy.Back(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	})
	work.Go(func() {
		defer close(ended)
		<-reading
		if tally, err := o.Commit(t.Context(), spool); err != nil || tally != (output.Tally{Succeeded: part.Items}) {
			t.Errorf("put %+v, %v", tally, err)
		}
	})
	work.Wait()
	if took := time.Since(begun); took < awayFor {
		t.Errorf("it took %s, less than the broker was away", took)
	}
	if got := len(committed(t, client, of.Output.Kafka.Topic, 0)); int64(got) != part.Items {
		t.Errorf("there are %d records of %d items", got, part.Items)
	}
	proxy.Away()
	of.Retry.Patience = task.Duration(time.Second)
	late, err := openInput(of, through)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := late.Fix(t.Context(), nil); reasonOf(err) != "StoreAway false" {
		t.Error("who has no patience is told", err)
	}
}

// writing tells when the first records of a topic are written, of a transaction that is open then.
type writing struct {
	topic string
	once  sync.Once
	begun chan struct{}
}

func (w *writing) OnProduceBatchWritten(_ kgo.BrokerMetadata, topic string, _ int32, _ kgo.ProduceBatchMetrics) {
	if topic == w.topic {
		w.once.Do(func() { close(w.begun) })
	}
}

// prepared are an input and an output that can begin with a part.
func prepared(t *testing.T, of *task.Task, part plan.Part, options ...kgo.Opt) (*Input, *Output) {
	t.Helper()
	in, err := openInput(of, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	o, err := openOutput(of, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	fixed(t, in)
	if err := o.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	settledBy(t, o, 0, []plan.Part{part})
	return in, o
}

// full is a spool of records of so many bytes each.
func full(t *testing.T, part plan.Part, limit output.Limit, each int) *output.Spool {
	t.Helper()
	spool, err := output.NewSpool(t.TempDir(), part, 1<<30, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spool.Close() })
	for item := range part.Items {
		if err := spool.Add(&output.Record{Item: item, Response: []byte(`"` + text(each) + `"`)}); err != nil {
			t.Fatal(err)
		}
	}
	return spool
}

// readAll reads so many items, says when a quarter is read, and watches what memory they take.
func readAll(t *testing.T, in *Input, items int64, quarter func()) {
	t.Helper()
	var peak uint64
	var count int64
	for _, err := range in.Items(t.Context(), plan.Position{}) {
		if err != nil {
			t.Errorf("reading behind %d items: %v", count, err)
			return
		}
		if count++; count == items/4 {
			quarter()
		}
		if count%64 == 0 {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	}
	if count != items {
		t.Errorf("read %d items of %d", count, items)
	}
	if t.Logf("%d bytes of memory at most", peak); peak > resident {
		t.Errorf("of %d bytes each were read and written with %d bytes of memory", large, peak)
	}
}

// text is one that can't be compressed much.
func text(size int) string {
	random := make([]byte, size/2)
	_, _ = rand.Read(random)
	return fmt.Sprintf("%x", random)
}

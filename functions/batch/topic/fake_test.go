package topic

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// patient is longer than a busy machine takes for anything.
const patient = task.Duration(5 * time.Minute)

// quick are options of a client that waits for nothing but answers.
var quick = []kgo.Opt{kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.MetadataMinAge(10 * time.Millisecond)}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// fake is a cluster in memory.
func fake(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// described is a task from and to topics of brokers.
func described(brokers ...string) *task.Task {
	t := &task.Task{
		Namespace: "team", Name: "nightly", UID: "u-1",
		Input:  task.Input{Kafka: &task.KafkaInput{Kafka: task.Kafka{Brokers: brokers, Topic: "rows"}}},
		Output: task.Output{Kafka: &task.KafkaOutput{Kafka: task.Kafka{Brokers: brokers, Topic: "scores"}, ErrorTopic: "errors"}},
		Retry:  task.Retry{Patience: patient},
	}
	t.SetDefaults()
	return t
}

func asking(t *testing.T, brokers []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, quick...), options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func made(t *testing.T, client *kgo.Client, partitions int32, settings map[string]string, topics ...string) {
	t.Helper()
	set := map[string]*string{}
	for name, value := range settings {
		set[name] = &value
	}
	answers, err := kadm.NewClient(client).CreateTopics(t.Context(), partitions, 1, set, topics...)
	if err = errors.Join(err, answers.Error()); err != nil {
		t.Fatal(err)
	}
}

func openedInput(t *testing.T, from *task.Task) *Input {
	t.Helper()
	in, err := openInput(from, quick...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

func openedOutput(t *testing.T, to *task.Task) *Output {
	t.Helper()
	o, err := openOutput(to, quick...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// read is what a test sees of an item.
type read struct {
	Object, Body, Problem string
	Offset                int64
	End                   plan.Position
}

func all(t fataler, s input.Source, from plan.Position) (items []read) {
	t.Helper()
	for item, err := range s.Items(t.Context(), from) {
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, read{item.Object, string(item.Body), item.Problem, *item.Offset, item.End})
	}
	return items
}

func reasonOf(err error) string {
	failure := &task.ReasonedError{}
	if !errors.As(err, &failure) {
		return fmt.Sprint(err)
	}
	return fmt.Sprint(failure.Reason, " ", failure.Final)
}

// committed are a partition's records, as whoever reads what is committed sees them, once
// brokers have ended the transactions that they were told to.
func committed(t fataler, client *kgo.Client, topic string, partition int32) (records []*kgo.Record) {
	t.Helper()
	c := &cluster{patience: objects.Patience(patient), tell: teller{"reading", task.InputMissing}}
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, partition)
	for record, err := range (&reader{cluster: c, client: client, topic: topic, partition: partition}).records(t.Context(), 0, end.Offset) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

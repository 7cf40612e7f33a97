//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/stores"
)

const (
	// topicItems are two parts, which at some 97/s take twelve seconds.
	topicItems = 1100
	// One in so many of them can't be asked.
	brokenEvery, brokenItems = 100, topicItems / 100
	// awayAtMost is how long the broker is away when results are to be committed.
	awayAtMost = 10 * time.Second
	// partitionsRead and partitionsWritten are those of the topics.
	partitionsRead, partitionsWritten = 3, 2
)

// A batch reads what is committed in a topic of a real broker and writes to another one, with
// a login that may do just what the documentation says. A worker is killed, and the broker is
// away when the next one begins, and again when results are to be committed; and yet each item
// has one record for those who read what is committed. One that may not, or names no topic
// that is there, fails at once, and says what is to be done.
func TestBatchOfATopic(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	k := s.kafka()
	s.create(s.ranker("ranker", fixed("100")))
	items := k.fill()
	folder := s.shelf("results")
	s.serving("ranker")

	b := k.batch("right", func(b *v1alpha1.Batch) {
		b.Spec.Input.Kafka.BootstrapServers, b.Spec.Output.Kafka.BootstrapServers = k.away.servers, k.away.servers
		b.Spec.Output.Kafka.ErrorTopic = k.errors
	})
	k.batch("range", func(b *v1alpha1.Batch) {
		from, to := int64(3), int64(13)
		b.Spec.Input.Kafka.Partitions = []v1alpha1.BatchKafkaPartition{{Partition: 1, From: &from, To: &to}}
		b.Spec.Output = v1alpha1.BatchOutput{Volume: &v1alpha1.BatchVolumeOutput{ClaimName: "results", Folder: "range"}}
	})
	k.batch("stale-password", func(b *v1alpha1.Batch) { b.Spec.Output.Kafka.SecretName = "stale" })
	k.batch("no-topic", func(b *v1alpha1.Batch) { b.Spec.Input.Kafka.Topic = k.none })
	k.batch("not-allowed", func(b *v1alpha1.Batch) { b.Spec.Output.Kafka.Topic = k.foreign })

	s.killWorker("right")
	killed := time.Now()
	k.away.begin()
	s.anotherWorker("right", killed)
	k.away.end()
	s.answered("right", topicItems*3/4, batchWithin)
	k.away.begin()
	// What is left is answered meanwhile; or isn't, where who is at it has yet to begin.
	s.answered("right", topicItems, awayAtMost)
	k.away.end()
	done := s.complete("right", topicItems)
	if done.Status.Succeeded == nil || *done.Status.Succeeded != topicItems-brokenItems || done.Status.Failed == nil || *done.Status.Failed != brokenItems {
		t.Errorf("it says %+v, want %d items that have failed", done.Status.BatchProgress, brokenItems)
	}
	k.oneRecordEach(b, items)
	k.inOrder(k.scores)

	s.failed("stale-password", task.StoreRefused, "SASL_AUTHENTICATION_FAILED", "username, password and mechanism")
	s.failed("no-topic", task.InputMissing, k.none, "spec.input")
	s.failed("not-allowed", task.StoreRefused, k.foreign, "TOPIC_AUTHORIZATION_FAILED")
	s.complete("range", 10)
	k.oneOfRange(filepath.Join(folder, "range"), items)
}

// topics are those of a test, on a real broker.
type topics struct {
	*stage
	broker *stores.Kafka
	// The topics: foreign is there, and may not be written; none isn't there.
	clicks, scores, errors, foreign, none string
	away                                  *outage
}

// outage is how a broker is away for those who come by its proxy.
type outage struct {
	*stage
	// servers lead there.
	servers []string
	proxy   *stores.Proxy
}

// kafka makes topics on the real broker, with logins for them, all of which go with the test.
func (s *stage) kafka() *topics {
	s.Helper()
	broker, err := stores.FindKafka(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(broker.Close)
	name := func(of string) string { return s.namespace + "-" + of }
	k := &topics{stage: s, broker: broker, clicks: name("clicks"), scores: name("scores"), errors: name("errors"), foreign: name("foreign"), none: name("none")}
	markers := k.scores + task.MarkersSuffix
	s.Cleanup(func() {
		if err := broker.Remove(context.Background(), k.clicks, k.scores, k.errors, k.foreign, markers); err != nil {
			s.Error(err)
		}
	})
	for topic, partitions := range map[string]int32{k.clicks: partitionsRead, k.scores: partitionsWritten, k.errors: 1, k.foreign: 1} {
		if err := broker.Make(s.Context(), partitions, topic); err != nil {
			s.Fatal(err)
		}
	}
	const password = "only-for-this-test"
	may := func(operations ...kadm.ACLOperation) *kadm.ACLBuilder {
		return kadm.NewACLs().Operations(operations...)
	}
	err = broker.Login(s.Context(), s.namespace, password,
		may(kadm.OpRead).Topics(k.clicks, k.none),
		may(kadm.OpWrite, kadm.OpDescribeConfigs).Topics(k.scores, k.errors),
		may(kadm.OpCreate, kadm.OpRead, kadm.OpWrite, kadm.OpDescribeConfigs).Topics(markers),
		may(kadm.OpWrite).TransactionalIDs("sluice-").ResourcePatternType(kadm.ACLPatternPrefixed),
	)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := broker.Forget(context.Background(), s.namespace); err != nil {
			s.Error(err)
		}
	})
	s.login("kafka", password, broker.Authority)
	s.login("stale", "was-rotated", broker.Authority)
	k.away = s.outage(broker)
	return k
}

// login makes a Secret as a Batch names it.
func (s *stage) login(name, password string, authority []byte) {
	s.Helper()
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		StringData: map[string]string{task.UsernameFile: s.namespace, task.PasswordFile: password, task.AuthorityFile: string(authority)},
	}
	if _, err := s.Kube.CoreV1().Secrets(s.namespace).Create(s.Context(), object, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating a Secret:", err)
	}
}

// outage leads to the broker by a proxy, where there is a way for one.
func (s *stage) outage(broker *stores.Kafka) *outage {
	s.Helper()
	if broker.Proxy == "" || broker.Proxied == "" {
		s.Log("SLUICE_KAFKA_PROXY and SLUICE_KAFKA_PROXIED name no way by a proxy: the broker is never away")
		return &outage{stage: s, servers: []string{broker.Broker}}
	}
	proxy, err := stores.NewProxyAt(context.Background(), broker.Proxy, broker.Proxied)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(proxy.Away)
	return &outage{stage: s, servers: []string{proxy.Address()}, proxy: proxy}
}

func (o *outage) begin() {
	if o.proxy != nil {
		o.proxy.Away()
	}
}

func (o *outage) end() {
	o.Helper()
	if o.proxy == nil {
		return
	}
	if err := o.proxy.Back(context.Background()); err != nil {
		o.Fatal(err)
	}
}

// batch asks the ranker for each record of the topic.
func (k *topics) batch(name string, change func(*v1alpha1.Batch)) *v1alpha1.Batch {
	k.Helper()
	at := func(topic string) v1alpha1.BatchKafkaTopic {
		return v1alpha1.BatchKafkaTopic{BootstrapServers: []string{k.broker.Broker}, Topic: topic, TLS: true, SecretName: "kafka"}
	}
	b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: name}}
	b.Spec.Model = "ranker"
	b.Spec.Input.Kafka = &v1alpha1.BatchKafkaInput{BatchKafkaTopic: at(k.clicks)}
	b.Spec.Request.Path = "/v2/models/ranker/infer"
	b.Spec.Output.Kafka = &v1alpha1.BatchKafkaOutput{BatchKafkaTopic: at(k.scores)}
	change(b)
	b, err := k.Sluice.SluiceV1alpha1().Batches(k.namespace).Create(k.Context(), b, metav1.CreateOptions{})
	if err != nil {
		k.Fatalf("creating Batch %s: %v", name, err)
	}
	return b
}

// topicItem is a record of the input: what it asks is known by an ID, which a broken one hasn't.
type topicItem struct {
	partition int32
	offset    int64
	id        string
}

// fill puts requests into the topic, some of them broken, and beside them some that are taken
// back again: of each partition, the last that there is. It returns the items in their order.
func (k *topics) fill() []topicItem {
	k.Helper()
	var records []*kgo.Record
	for i, line := range slices.Collect(strings.Lines(k.requests(topicItems))) {
		value := []byte(strings.TrimSpace(line))
		switch {
		case i == 0:
			value = nil // as of a key that was deleted
		case i%brokenEvery == 0:
			value = value[:len(value)/2]
		}
		records = append(records, &kgo.Record{Topic: k.clicks, Partition: int32(i % partitionsRead), Value: value})
	}
	takenBack := func() (records []*kgo.Record) {
		for i := range partitionsRead * 2 {
			records = append(records, &kgo.Record{Topic: k.clicks, Partition: int32(i % partitionsRead), Value: []byte(`{"id": "taken back"}`)})
		}
		return records
	}
	half := len(records) / 2
	put := func(err error) {
		k.Helper()
		if err != nil {
			k.Fatal(err)
		}
	}
	put(k.broker.Put(k.Context(), records[:half]...))
	put(k.broker.PutAborted(k.Context(), k.namespace, takenBack()...))
	put(k.broker.Put(k.Context(), records[half:]...))
	put(k.broker.PutAborted(k.Context(), k.namespace, takenBack()...))

	var items []topicItem
	for _, r := range k.committed(k.clicks) {
		var request struct{ ID string }
		_ = json.Unmarshal(r.Value, &request) // a broken one has no ID
		items = append(items, topicItem{r.Partition, r.Offset, request.ID})
	}
	if len(items) != topicItems {
		k.Fatalf("%d records are in the topic, %d were put there", len(items), topicItems)
	}
	return items
}

// committed are the records of a topic, by their partitions.
func (k *topics) committed(topic string) []*kgo.Record {
	k.Helper()
	records, err := k.broker.Committed(k.Context(), topic)
	if err != nil {
		k.Fatal(err)
	}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return cmp.Compare(a.Partition, b.Partition) })
	return records
}

// topicResult is a record of an output.
type topicResult struct {
	Item     int64
	Object   string
	Offset   *int64
	Status   int
	Response struct{ ID string }
	Reason   string
}

// check holds a record to its item.
func (r *topicResult) check(of topicItem) error {
	switch {
	case of.id != "" && (r.Status != 200 || r.Response.ID != of.id):
		return fmt.Errorf("the record of item %d is %+v, want an answer for %q", r.Item, r, of.id)
	case of.id == "" && (r.Reason == "" || r.Offset == nil || *r.Offset != of.offset || !strings.HasSuffix(r.Object, fmt.Sprintf("/%d", of.partition))):
		return fmt.Errorf("the record of item %d is %+v, want a reason, and where it is: %+v", r.Item, r, of)
	}
	return nil
}

// isOf is nil where a record says that it is of a batch.
func isOf(b *v1alpha1.Batch, record *kgo.Record) error {
	says := map[string]string{}
	for _, h := range record.Headers {
		says[h.Key] = string(h.Value)
	}
	if says[task.BatchHeader] != b.Namespace+"/"+b.Name || says[task.UIDHeader] != string(b.UID) {
		return fmt.Errorf("a record says that it is of %v", says)
	}
	return nil
}

// inOrder checks that those of a partition, which are of one shard, are in the order of the input.
func (k *topics) inOrder(topic string) {
	k.Helper()
	last := map[int32]int64{}
	for _, record := range k.committed(topic) {
		var result topicResult
		if err := json.Unmarshal(record.Value, &result); err != nil {
			k.Fatal(err)
		}
		if before, begun := last[record.Partition]; begun && result.Item <= before {
			k.Errorf("topic %s: item %d follows item %d", topic, result.Item, before)
		}
		last[record.Partition] = result.Item
	}
	if len(last) != partitionsWritten {
		k.Errorf("topic %s has records in %d partitions, want %d: a shard each", topic, len(last), partitionsWritten)
	}
}

// oneRecordEach checks that each item has one record, that says whose it is, and that the
// errors' topic has those that have failed, and no others.
func (k *topics) oneRecordEach(b *v1alpha1.Batch, items []topicItem) {
	k.Helper()
	count := func(topic string) map[int64]int {
		counts := map[int64]int{}
		for _, record := range k.committed(topic) {
			var result topicResult
			if err := json.Unmarshal(record.Value, &result); err != nil {
				k.Fatalf("topic %s has %q: %v", topic, record.Value, err)
			}
			if result.Item < 0 || result.Item >= int64(len(items)) {
				k.Fatalf("topic %s has a record of item %d", topic, result.Item)
			}
			if err := errors.Join(isOf(b, record), result.check(items[result.Item])); err != nil {
				k.Errorf("topic %s: %v", topic, err)
			}
			counts[result.Item]++
		}
		return counts
	}
	results, failed := count(k.scores), count(k.errors)
	for i, item := range items {
		if results[int64(i)] != 1 {
			k.Errorf("item %d has %d records", i, results[int64(i)])
		}
		if want := map[bool]int{true: 1}[item.id == ""]; failed[int64(i)] != want {
			k.Errorf("item %d has %d records among the errors, want %d", i, failed[int64(i)], want)
		}
	}
}

// oneOfRange checks the output of ten offsets of partition 1 from offset 3 on.
func (k *topics) oneOfRange(folder string, items []topicItem) {
	k.Helper()
	first := slices.IndexFunc(items, func(i topicItem) bool { return i.partition == 1 && i.offset == 3 })
	content, err := os.ReadFile(filepath.Join(folder, "results", "000000000000.jsonl"))
	if err != nil {
		k.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(content)))
	if len(lines) != 10 {
		k.Fatalf("the range has %d records", len(lines))
	}
	for i, line := range lines {
		var result topicResult
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			k.Fatalf("%s: %v", line, err)
		}
		if err := result.check(items[first+i]); err != nil || result.Item != int64(i) {
			k.Errorf("record %d of the range: %v", i, err)
		}
	}
}

// anotherWorker waits until a pod that began after another was killed has worked for a moment.
func (s *stage) anotherWorker(batch string, killed time.Time) {
	s.Helper()
	s.until(time.Minute, "another worker", func(ctx context.Context) (string, error) {
		pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.BatchLabelKey + "=" + batch})
		if err != nil {
			return "", err
		}
		for _, p := range pods.Items {
			_, works := p.Labels["batch.kubernetes.io/job-completion-index"]
			state := p.Status.ContainerStatuses
			if !works || len(state) == 0 || state[0].State.Running == nil {
				continue
			}
			// The times of Kubernetes are in seconds.
			if at := state[0].State.Running.StartedAt.Time; !at.Before(killed.Truncate(time.Second)) && time.Since(at) > 3*time.Second {
				return "", nil
			}
		}
		return fmt.Sprintf("%d pods", len(pods.Items)), nil
	})
}

// answered waits until a batch's workers say that so many items have been, and not for longer
// than that takes.
func (s *stage) answered(name string, items int64, atMost time.Duration) {
	s.Helper()
	err := wait.PollUntilContextTimeout(s.Context(), 200*time.Millisecond, atMost, true, func(ctx context.Context) (bool, error) {
		b, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		if b.Status.IsFinished() {
			return true, nil
		}
		p := b.Status.BatchProgress
		return p.Succeeded != nil && p.Failed != nil && *p.Succeeded+*p.Failed >= items, nil
	})
	if err != nil && !wait.Interrupted(err) {
		s.Fatal("waiting for answers:", err)
	}
}

//go:build e2e

package stores

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What is committed is read in its order, and nothing else, also where the last of a partition
// was taken back.
func TestCommittedRecords(t *testing.T) {
	k, topic := realTopic(t, 2)
	at := func(partition int32, value string) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	}
	if records, err := k.Committed(t.Context(), topic); err != nil || len(records) != 0 {
		t.Fatalf("of an empty topic: %v, %v", records, err)
	}
	if err := k.Put(t.Context(), at(0, "a"), at(1, "b"), at(0, "c")); err != nil {
		t.Fatal(err)
	}
	if err := k.PutAborted(t.Context(), topic, at(0, "x"), at(1, "y")); err != nil {
		t.Fatal(err)
	}
	if err := k.Put(t.Context(), at(1, "d")); err != nil {
		t.Fatal(err)
	}
	records, err := k.Committed(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	read := map[int32]string{}
	for _, r := range records {
		read[r.Partition] += string(r.Value)
	}
	if read[0] != "ac" || read[1] != "bd" {
		t.Errorf("read %v", read)
	}
}

// A user may do what is listed, and is refused what isn't; forgotten, the user isn't let in.
func TestLogin(t *testing.T) {
	k, topic := realTopic(t, 1)
	user := topic
	if err := k.Login(t.Context(), user, "secret", kadm.NewACLs().Topics(topic).Operations(kadm.OpRead)); err != nil {
		t.Fatal(err)
	}
	client, err := k.client(user, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	err = client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	// Who may write nowhere isn't given a producer's number, which is the cluster's.
	if !errors.Is(err, kerr.ClusterAuthorizationFailed) && !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("what isn't allowed: %v", err)
	}
	if err := k.Forget(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), putWithin)
	defer cancel()
	for ctx.Err() == nil {
		again, err := k.client(user, "secret")
		if err != nil {
			t.Fatal(err)
		}
		err = ping(ctx, again)
		again.Close()
		if errors.Is(err, kerr.SaslAuthenticationFailed) {
			return
		}
	}
	t.Error("a user who was forgotten is let in")
}

// Who comes by the proxy is told to stay there, and is without the broker while it is away.
func TestTheBrokerIsAwayByItsProxy(t *testing.T) {
	k, topic := realTopic(t, 1)
	if k.Proxy == "" {
		t.Skip("SLUICE_KAFKA_PROXY and SLUICE_KAFKA_PROXIED name no such way to this broker")
	}
	proxy, err := NewProxyAt(t.Context(), k.Proxy, k.Proxied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Away)
	by := *k
	by.Broker = k.Proxy
	client, err := by.client(k.User, k.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	proxy.Away()
	if err := ping(t.Context(), client); err == nil {
		t.Error("the broker answers while it is away")
	}
	if err := k.Put(t.Context(), &kgo.Record{Topic: topic, Value: []byte("y")}); err != nil {
		t.Errorf("by its own address it is there: %v", err)
	}
	if err := proxy.Back(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("z")}).FirstErr(); err != nil {
		t.Errorf("it is back: %v", err)
	}
}

// realTopic is a new one, which goes with the test.
func realTopic(t *testing.T, partitions int32) (*Kafka, string) {
	t.Helper()
	k, err := FindKafka(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topic := fmt.Sprintf("stores-%s-%s", strings.ToLower(t.Name()), strings.ToLower(rand.Text()))
	if err := k.Make(t.Context(), partitions, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Remove(context.Background(), topic); err != nil {
			t.Error(err)
		}
		k.Close()
	})
	return k, topic
}

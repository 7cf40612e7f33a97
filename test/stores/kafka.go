package stores

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Kafka is a cluster, of one broker where it is the local stack's, that this machine and the
// cluster's pods reach over TLS, with a login by SCRAM-SHA-512.
type Kafka struct {
	// Broker is where it is, as host:port.
	Broker string
	// User and Password may do anything there.
	User, Password string
	// Authority is by whom the broker's certificate is known, as PEM.
	Authority []byte
	// Proxy is where clients are told to come by who come to Proxied: a test may serve there,
	// and have the broker away for them. Both are "" where there is no such way.
	Proxy, Proxied string

	admin *kadm.Client
}

// FindKafka returns the broker that the environment names. Where it doesn't answer it is brought
// up by name, if the environment says by whom.
func FindKafka(ctx context.Context) (*Kafka, error) {
	k := &Kafka{
		Broker: os.Getenv("SLUICE_KAFKA_TLS_BROKER"), User: os.Getenv("SLUICE_KAFKA_USER"), Password: os.Getenv("SLUICE_KAFKA_PASSWORD"),
		Proxy: os.Getenv("SLUICE_KAFKA_PROXY"), Proxied: os.Getenv("SLUICE_KAFKA_PROXIED"),
	}
	authority := os.Getenv("SLUICE_KAFKA_CA")
	if k.Broker == "" || k.User == "" || k.Password == "" || authority == "" {
		return nil, errors.New("SLUICE_KAFKA_TLS_BROKER, SLUICE_KAFKA_USER, SLUICE_KAFKA_PASSWORD and SLUICE_KAFKA_CA name a broker for tests, and aren't all set: " +
			"the local stack sets them (hack/cluster/cluster env); on a cluster of your own name one that its pods reach, and who may do anything there")
	}
	if err := reach(ctx, "broker", "kafka", func(ctx context.Context) error { return k.open(ctx, authority) }); err != nil {
		return nil, err
	}
	return k, nil
}

// open opens a client, once the broker lets it in. The authority is there no sooner than the
// broker.
func (k *Kafka) open(ctx context.Context, authority string) error {
	var err error
	if k.Authority, err = os.ReadFile(authority); err != nil { //nolint:gosec // who runs the tests names it
		return fmt.Errorf("SLUICE_KAFKA_CA: %w", err)
	}
	client, err := k.client(k.User, k.Password)
	if err != nil {
		return err
	}
	if err := ping(ctx, client); err != nil {
		client.Close()
		return fmt.Errorf("asking the broker at %s: %w", k.Broker, err)
	}
	k.admin = kadm.NewClient(client)
	return nil
}

func ping(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	return client.Ping(ctx)
}

// Close ends the connections of Kafka itself.
func (k *Kafka) Close() { k.admin.Close() }

func (k *Kafka) client(user, password string, options ...kgo.Opt) (*kgo.Client, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(k.Authority) {
		return nil, errors.New("SLUICE_KAFKA_CA has no certificate as PEM")
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.Broker),
		kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted}),
		kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()),
		kgo.RetryTimeout(putWithin),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("making a client of Kafka: %w", err)
	}
	return client, nil
}

// Make makes topics, of so many partitions each, with one copy of what is there.
func (k *Kafka) Make(ctx context.Context, partitions int32, topics ...string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	made, err := k.admin.CreateTopics(ctx, partitions, 1, nil, topics...)
	if err = errors.Join(err, made.Error()); err != nil {
		return fmt.Errorf("making topics: %w", err)
	}
	return nil
}

// Remove removes those topics of a list that are there.
func (k *Kafka) Remove(ctx context.Context, topics ...string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	there, err := k.admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	topics = slices.DeleteFunc(slices.Clone(topics), func(topic string) bool { return !there.Has(topic) })
	if len(topics) == 0 {
		return nil
	}
	removed, err := k.admin.DeleteTopics(ctx, topics...)
	if err = errors.Join(err, removed.Error()); err != nil {
		return fmt.Errorf("removing topics: %w", err)
	}
	return nil
}

// Put puts records into the partitions that they name, in their order, and waits until they
// are there.
func (k *Kafka) Put(ctx context.Context, records ...*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	client, err := k.client(k.User, k.Password, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("putting records: %w", err)
	}
	return nil
}

// PutAborted puts records in a transaction that is then aborted, so that who reads what is
// committed has none of them, but has gaps where they are.
func (k *Kafka) PutAborted(ctx context.Context, id string, records ...*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	client, err := k.client(k.User, k.Password, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("putting records: %w", err)
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("aborting a transaction: %w", err)
	}
	return nil
}

// Committed returns the records of a topic that are committed, those of a partition in their
// order, as far as they are there when it is asked. It waits until it is known of each whether
// it is: brokers tell who commits so before they tell those who read.
func (k *Kafka) Committed(ctx context.Context, topic string) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	ends, err := k.admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("finding the end of topic %s: %w", topic, err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			from[end.Partition], left[end.Partition] = kgo.NewOffset().AtStart(), end.Offset
		}
	})
	if len(left) == 0 {
		return nil, nil
	}
	// What ends a transaction is a record, too: the last one of a partition may be such.
	client, err := k.client(k.User, k.Password, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading topic %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, wanted := left[r.Partition]; wanted && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records, nil
}

// Login makes a user who may do what is listed, and nothing else, and waits until the broker
// knows both.
func (k *Kafka) Login(ctx context.Context, user, password string, rights ...*kadm.ACLBuilder) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	altered, err := k.admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password}})
	if err = errors.Join(err, altered.Error()); err != nil {
		return fmt.Errorf("making user %s: %w", user, err)
	}
	for _, right := range rights {
		right.Allow("User:" + user).AllowHosts("*")
		made, err := k.admin.CreateACLs(ctx, right)
		for _, m := range made {
			err = errors.Join(err, m.Err)
		}
		if err != nil {
			return fmt.Errorf("allowing user %s what it needs: %w", user, err)
		}
	}
	return k.knows(ctx, user, password)
}

// knows waits until a user can log in.
func (k *Kafka) knows(ctx context.Context, user, password string) error {
	client, err := k.client(user, password)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		refused := ping(ctx, client)
		if refused == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker doesn't let in user %s, whom it was told of: %w", user, refused)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Forget takes a user's login and rights away.
func (k *Kafka) Forget(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	all := kadm.NewACLs().AnyResource().Allow("User:" + user).AllowHosts().Operations(kadm.OpAny).ResourcePatternType(kadm.ACLPatternAny)
	_, kept := k.admin.DeleteACLs(ctx, all)
	altered, err := k.admin.AlterUserSCRAMs(ctx, []kadm.DeleteSCRAM{{User: user, Mechanism: kadm.ScramSha512}}, nil)
	if err = errors.Join(kept, err, altered.Error()); err != nil {
		return fmt.Errorf("forgetting user %s: %w", user, err)
	}
	return nil
}

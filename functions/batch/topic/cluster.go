package topic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/task"
)

const (
	// retried is for how long a request is sent again before patience begins.
	retried = 5 * time.Second
	// metadataAge is for how long it is believed who leads a partition.
	metadataAge = 250 * time.Millisecond
	// appearsWithin is how long a topic may take to be known to all brokers.
	appearsWithin = objects.Patience(10 * time.Second)
	// maxAnswer bounds what is read at once, maxBatch what that becomes when it is decompressed.
	maxAnswer = 32 << 20
	maxBatch  = 64 << 20
)

// cluster is how a task's Kafka cluster is reached, and how its errors are told.
type cluster struct {
	options  []kgo.Opt
	patience objects.Patience
	tell     teller
	// letIn is true once something was answered.
	letIn atomic.Bool
}

// newCluster reads the credentials. More options are a test's.
func newCluster(of *task.Kafka, patience task.Duration, tell teller, more []kgo.Opt) (*cluster, error) {
	c := &cluster{patience: objects.Patience(patience), tell: tell, options: []kgo.Opt{
		kgo.SeedBrokers(of.Brokers...), kgo.ClientID("sluice-batch"), kgo.DisableClientMetrics(),
		kgo.RetryTimeout(retried), kgo.MetadataMinAge(metadataAge),
		kgo.BrokerMaxReadBytes(maxAnswer), kgo.FetchMaxBytes(fetchBytes), kgo.MaxDecompressBatchBytes(maxBatch),
	}}
	user, err := userOf(of.Credentials)
	if err != nil {
		return nil, task.Final(task.StoreRefused, err)
	}
	if user != nil {
		c.options = append(c.options, kgo.SASL(user))
	}
	if of.TLS {
		config, err := authorities(of.Credentials)
		if err != nil {
			return nil, task.Final(task.StoreRefused, err)
		}
		c.options = append(c.options, kgo.DialTLSConfig(config))
	}
	c.options = append(c.options, more...)
	return c, nil
}

// client is a new one. It connects when it is asked for something.
func (c *cluster) client(more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, c.options...), more...)...)
	if err != nil {
		return nil, fmt.Errorf("making a client of Kafka: %w", err)
	}
	return client, nil
}

// try does something until it is done, is settled, or patience ends.
func (c *cluster) try(ctx context.Context, do func() error) error {
	return c.tell.away(c.patience.Try(ctx, func() error { return c.settled(ctx, do()) }))
}

// settled adds the reason to an error that trying again wouldn't mend. A login that is refused
// after it was let in isn't one: its password may have been replaced, and the Secret follows.
func (c *cluster) settled(ctx context.Context, err error) error {
	if err == nil {
		c.letIn.Store(true)
	}
	if c.letIn.Load() && errors.Is(err, kerr.SaslAuthenticationFailed) {
		return err
	}
	return c.tell.settled(ctx, err)
}

// lister lists an offset of each partition of topics.
type lister func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

// offsets are those of some partitions of a topic.
func (c *cluster) offsets(ctx context.Context, topic string, partitions []int32, list lister) (map[int32]int64, error) {
	offsets := make(map[int32]int64, len(partitions))
	err := c.try(ctx, func() error {
		listed, err := list(ctx, topic)
		if err = errors.Join(err, listed.Error()); err != nil {
			return fmt.Errorf("asking for the offsets of topic %s: %w", topic, err)
		}
		for _, partition := range partitions {
			at, ok := listed.Lookup(topic, partition)
			if !ok {
				return fmt.Errorf("asking for the offsets of topic %s: nothing is said of partition %d", topic, partition)
			}
			offsets[partition] = at.Offset
		}
		return nil
	})
	return offsets, err
}

// describe finds a topic. One that isn't known is asked for again, for as long as a new one
// may take.
func (c *cluster) describe(ctx context.Context, client *kgo.Client, topic string) (found kadm.TopicDetail, err error) {
	err = c.patience.Try(ctx, func() error {
		var unknown error
		err := min(c.patience, appearsWithin).Try(ctx, func() error {
			found, unknown, err = c.look(ctx, client, topic)
			return errors.Join(c.settled(ctx, err), unknown)
		})
		if unknown != nil {
			return c.settled(ctx, unknown)
		}
		return err
	})
	return found, c.tell.away(err)
}

// look asks once, and tells apart that the topic isn't known from what else there may be.
func (c *cluster) look(ctx context.Context, client *kgo.Client, topic string) (found kadm.TopicDetail, unknown, err error) {
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return found, nil, fmt.Errorf("asking for topic %s: %w", topic, err)
	}
	found = topics[topic]
	if missing(found.Err) {
		return found, fmt.Errorf("topic %s: %w", topic, found.Err), nil
	}
	if found.Err != nil {
		return found, nil, fmt.Errorf("topic %s: %w", topic, found.Err)
	}
	return found, nil, nil
}

// userOf is who says who it is, by the files of a folder; nil where they name nobody. They
// are read again for each connection, as a password may change.
func userOf(folder string) (sasl.Mechanism, error) {
	if folder == "" {
		return nil, nil
	}
	name, _, err := keys(folder)
	if err != nil || name == "" {
		return nil, err
	}
	mechanism, err := file(folder, task.MechanismFile)
	if err != nil {
		return nil, err
	}
	shared := func(context.Context) (scram.Auth, error) {
		name, password, err := keys(folder)
		return scram.Auth{User: name, Pass: password}, err
	}
	switch mechanism {
	case "SCRAM-SHA-512", "":
		return scram.Sha512(shared), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(shared), nil
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			name, password, err := keys(folder)
			return plain.Auth{User: name, Pass: password}, err
		}), nil
	default:
		return nil, fmt.Errorf("key %s of the Secret is %q; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are known", task.MechanismFile, mechanism)
	}
}

// keys are a user's name and password, both or neither.
func keys(folder string) (name, password string, err error) {
	if name, err = file(folder, task.UsernameFile); err != nil {
		return "", "", err
	}
	if password, err = file(folder, task.PasswordFile); err != nil {
		return "", "", err
	}
	if (name == "") != (password == "") {
		return "", "", fmt.Errorf("the Secret has one of the keys %s and %s; set both, or neither where nobody has to say who asks", task.UsernameFile, task.PasswordFile)
	}
	return name, password, nil
}

// file reads one of the credentials; it is empty where there is none.
func file(folder, name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // the task names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading key %s of the Secret: %w", name, err)
	}
	return strings.TrimSpace(string(content)), nil
}

// authorities are those that brokers' certificates are held to.
func authorities(folder string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if folder == "" {
		return config, nil
	}
	content, err := file(folder, task.AuthorityFile)
	if err != nil || content == "" {
		return config, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM([]byte(content)) {
		return nil, fmt.Errorf("key %s of the Secret has no certificate in PEM; put the certificates of the brokers' authority there", task.AuthorityFile)
	}
	return config, nil
}

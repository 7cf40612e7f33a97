package topic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"sluice.dev/sluice/functions/batch/task"
)

// teller tells a cluster's errors with their reasons.
type teller struct {
	// at is where they are: reading the input, or at the output.
	at string
	// missing is the reason where a topic isn't there.
	missing string
}

// refused are errors of who may not do what is asked, too large those of what has no room.
var (
	refused = []error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.TopicAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.SecurityDisabled,
	}
	tooLarge = []error{kerr.MessageTooLarge, kerr.RecordListTooLarge}
	// fenced are what a worker is told whose shard another one has begun, or whose transaction
	// took too long.
	fenced = []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch}
)

// missing tells whether a topic isn't there.
func missing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}

func isAny(err error, of []error) bool {
	return slices.ContainsFunc(of, func(known error) bool { return errors.Is(err, known) })
}

// settled adds the reason to an error that trying again wouldn't mend. Any other stays as
// it is.
func (t teller) settled(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		// The client gave something up by itself, as it does where its time is over.
		return errors.New(err.Error())
	}
	if known := (*task.ReasonedError)(nil); err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	told := fmt.Errorf("%s: %w", t.at, err)
	untrusted := (*tls.CertificateVerificationError)(nil)
	bomb := (*kgo.ErrDecompressTooLarge)(nil)
	switch {
	case missing(err):
		return task.Final(t.missing, told)
	case isAny(err, refused):
		return task.Final(task.StoreRefused, told)
	case errors.As(err, &untrusted):
		return task.Final(task.StoreRefused, fmt.Errorf("%w; put the certificates of the brokers' authority into key %s of the Secret", told, task.AuthorityFile))
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return task.Final(task.StoreRefused, fmt.Errorf("%w; raise transaction.max.timeout.ms of the brokers to %d", told, maxTransaction.Milliseconds()))
	case isAny(err, tooLarge):
		return task.Final(task.StoreRefused, fmt.Errorf("%w; raise max.message.bytes of the topic, and message.max.bytes of the brokers if they bound it", told))
	case errors.Is(err, kgo.ErrClientClosed):
		return task.Passing(task.Interrupted, told)
	case isAny(err, fenced):
		return task.Passing(task.Interrupted, fmt.Errorf("%w: another worker has begun the shard, or the transaction took too long", told))
	case errors.As(err, &bomb), strings.Contains(err.Error(), "invalid large response size"):
		return task.Final(task.InputUnreadable, fmt.Errorf("%w; have producers send batches of at most %d bytes, %d bytes uncompressed", told, maxAnswer, maxBatch))
	default:
		return err
	}
}

// away adds to what is left when patience ends that the cluster is away, or lets the login in no more.
func (t teller) away(err error) error {
	if known := (*task.ReasonedError)(nil); err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		return task.Final(task.StoreRefused, fmt.Errorf("%s, which let the login in before: %w", t.at, err))
	}
	return task.Passing(task.StoreAway, fmt.Errorf("%s: %w", t.at, err))
}

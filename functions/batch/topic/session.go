package topic

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// minTransaction and maxTransaction bound for how long a transaction may be open: while one
	// is, nobody reads what follows it, so it has to end soon where its worker is no more.
	minTransaction, maxTransaction = 30 * time.Second, 10 * time.Minute
	// sentWithin is how long a transaction may take for each sentBytes of what it may have.
	sentWithin, sentBytes = time.Second, 8 << 20
	// buffered bounds what is on its way to the brokers, beside one record of any size.
	buffered = 8 << 20
	// undoneWithin bounds the attempt to abort what was left open.
	undoneWithin = 5 * time.Second
)

// transactionOf is for how long a transaction of so many bytes may be open.
func transactionOf(size int64) time.Duration {
	return min(maxTransaction, minTransaction+time.Duration(size/sentBytes)*sentWithin)
}

// session is a client that has a transactional ID, from which it took it up to the first
// error: what the brokers and the client make of each other afterwards isn't asked.
type session struct {
	client  *kgo.Client
	within  time.Duration
	settled bool
}

// begin takes a transactional ID: whoever had it can commit no more, and what he had open is
// aborted.
func (o *Output) begin(ctx context.Context, id string) (*session, error) {
	s := &session{within: o.within, settled: true}
	client, err := o.cluster.client(
		kgo.TransactionalID(id), kgo.TransactionTimeout(s.within),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytesFn(o.room), kgo.MaxBufferedBytes(buffered+maxRoom),
	)
	if err != nil {
		return nil, err
	}
	s.client = client
	taking, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if _, _, err := client.ProducerID(taking); err != nil {
		client.Close()
		return nil, fmt.Errorf("taking transactional ID %s: %w", id, err)
	}
	return s, nil
}

// write commits records together. After an error nobody knows whether it did.
func (s *session) write(ctx context.Context, records iter.Seq2[*kgo.Record, error]) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	s.settled = false
	if err := s.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	var sent first
	for record, err := range records {
		if err != nil {
			return err
		}
		s.client.Produce(ctx, record, func(of *kgo.Record, err error) {
			if err != nil {
				sent.set(fmt.Errorf("writing to topic %s: %w", of.Topic, err))
			}
		})
		if err := sent.get(); err != nil {
			return err
		}
	}
	if err := s.client.Flush(ctx); err != nil {
		return fmt.Errorf("sending records: %w", err)
	}
	if err := sent.get(); err != nil {
		return err
	}
	if err := s.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("committing records: %w", err)
	}
	s.settled = true
	return nil
}

// leave ends it; the next one may be the same ID's, and aborts what this one left open.
func (s *session) leave() { s.client.Close() }

// undo ends it where there may be no next one: then what it left open would be in others'
// way until it has been open for too long.
func (s *session) undo(ctx context.Context) {
	if !s.settled {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoneWithin)
		defer cancel()
		if s.client.AbortBufferedRecords(ctx) == nil {
			_ = s.client.EndTransaction(ctx, kgo.TryAbort)
		}
	}
	s.client.Close()
}

// first is the first of several errors.
type first struct {
	mu  sync.Mutex
	err error
}

func (f *first) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *first) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

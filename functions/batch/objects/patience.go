package objects

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Patience is for how long a store that is away is asked again. Each time that it answers
// begins it anew.
type Patience time.Duration

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// stall is how long a store may be silent in the middle of an answer.
	stall = time.Minute
)

var errStalled = errors.New("nothing came for " + stall.String())

// Try does something until it is done, is settled, or patience ends.
func (p Patience) Try(ctx context.Context, do func() error) error {
	err := do()
	if err == nil || Settled(err) {
		return err
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = minBackoff, maxBackoff
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := do()
		if Settled(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(time.Duration(p)))
	return err
}

// Through does something that goes on where it broke off until it is done, is settled, or
// patience ends, which begins anew each time that it came further.
func (p Patience) Through(ctx context.Context, do func() (further bool, err error)) error {
	for {
		again := false
		err := p.Try(ctx, func() error {
			further, err := do()
			if again = further && err != nil && !Settled(err); again {
				return nil
			}
			return err
		})
		if !again {
			return err
		}
	}
}

// Read opens an object for reading that goes on where it was when a connection breaks.
func (p Patience) Read(ctx context.Context, from Reader, key string, offset int64) io.ReadCloser {
	return &steady{ctx: ctx, patience: p, from: from, key: key, offset: offset}
}

// steady reads an object over as many connections as it takes.
type steady struct {
	ctx      context.Context
	patience Patience
	from     Reader
	key      string
	offset   int64
	// current is the connection that is read, which cancel ends; nil before it is opened.
	current io.ReadCloser
	cancel  context.CancelFunc
}

func (s *steady) Read(into []byte) (n int, err error) {
	var ended bool
	err = s.patience.Try(s.ctx, func() (err error) {
		n, ended, err = s.read(into)
		return err
	})
	if err == nil && ended {
		return n, io.EOF
	}
	return n, err
}

// read reads once, and tells whether that was the end. What a broken connection brought
// before it broke counts.
func (s *steady) read(into []byte) (n int, ended bool, err error) {
	if err := s.open(); err != nil {
		return 0, false, err
	}
	silent := time.AfterFunc(stall, s.cancel)
	n, err = s.current.Read(into)
	inTime := silent.Stop()
	s.offset += int64(n)
	if err == io.EOF {
		return n, true, nil
	}
	if err == nil {
		return n, false, nil
	}
	_ = s.Close()
	if n > 0 {
		return n, false, nil
	}
	if !inTime && s.ctx.Err() == nil {
		err = errStalled
	}
	return 0, false, err
}

func (s *steady) open() error {
	if s.current != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(s.ctx)
	opened, err := s.from.Open(ctx, s.key, s.offset)
	if err != nil {
		cancel()
		return err
	}
	s.current, s.cancel = opened, cancel
	return nil
}

func (s *steady) Close() error {
	if s.current == nil {
		return nil
	}
	s.cancel()
	err := s.current.Close()
	s.current, s.cancel = nil, nil
	return err
}

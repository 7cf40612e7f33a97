// Package gate is the part of queue-proxy that has requests wait while the model behind
// it is cold. A model that restarts in place listens again before its pod's endpoints
// have followed: only what is in the path of every request can hold one back. It asks
// the container that warms the model up, whichever Sluice that is of, and knows nothing
// else of it.
package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// most bounds the requests that wait at once, as Knative bounds the connections that
	// queue-proxy keeps.
	most = 1000
	// pause lies between two questions while requests wait.
	pause = 50 * time.Millisecond
)

// Dialer opens a connection.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Asker asks how far the replica is, as of now. With warmup.ErrForeign, it isn't
// warmed up.
type Asker func(ctx context.Context) (warmup.Status, error)

// ColdError is why no connection was opened.
type ColdError struct {
	Reason string
	// Final means that waiting is of no use.
	Final bool
}

func (e *ColdError) Error() string { return "the model is not warm: " + e.Reason }

// Gate opens connections to a model while that is warm, and has requests wait while it
// isn't.
type Gate struct {
	dial Dialer
	ask  Asker
	// patience bounds the wait of a request.
	patience time.Duration
	waiting  chan struct{}
	// waited is told of each wait, and of the error that it ended with.
	waited func(time.Duration, error)
	// leaving is closed when the replica is to leave: what ends then is not started again.
	leaving <-chan struct{}

	mu sync.Mutex
	// next is the question that those who wait are waiting for; nil while nobody waits.
	next *question
}

// question is one that is asked for all who wait.
type question struct {
	// cold is why they wait, answer what came of it once answered is closed.
	cold, answer error
	answered     chan struct{}
}

// New returns a Gate at which requests wait for as long as patience; each wait is told
// to waited. Leaving is closed when the replica is to leave.
func New(dial Dialer, ask Asker, patience time.Duration, waited func(time.Duration, error), leaving <-chan struct{}) *Gate {
	return &Gate{dial: dial, ask: ask, patience: patience, waiting: make(chan struct{}, most), waited: waited, leaving: leaving}
}

// Dial opens a connection if the model is warm, and returns a ColdError at once if it
// isn't: a Transport's dials outlive the requests that they are for, so none may wait. It
// asks after it has connected: what the answer speaks of either took this connection, or
// has ended, and the connection with it. Requests on a connection that is open need no
// question for the same reason.
//
// Nothing connects to a model that is known to be cold: a server that serves one
// connection at a time would keep its warm-up waiting for ours.
func (g *Gate) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	next := g.next
	g.mu.Unlock()
	if next != nil {
		return nil, next.cold
	}
	conn, err := g.dial(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // the Transport says what it did
	}
	if err := g.verdict(ctx); err != nil && !errors.Is(err, warmup.ErrForeign) {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// again sends a request again, as soon as that is possible, that failed with an error: if
// that is that no connection could be opened, and may be opened soon. A caller that
// leaves, by the context, waits no more.
//
// It returns a ColdError when the warm-up has failed, when the wait takes too long, or
// when too many wait already.
func (g *Gate) again(ctx context.Context, err error, send func() error) error {
	if !g.passing(err) {
		return err
	}
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return &ColdError{Reason: fmt.Sprintf("%d requests wait for it already", most), Final: true}
	}
	return g.await(ctx, err, send)
}

// await sends a request once the model is warm, after an error.
func (g *Gate) await(ctx context.Context, err error, send func() error) error {
	begin := time.Now()
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	for {
		next := g.question(err)
		select {
		case <-next.answered:
		case <-patience.C:
			g.waited(time.Since(begin), err)
			return err
		case <-ctx.Done():
			g.waited(time.Since(begin), context.Cause(ctx))
			return context.Cause(ctx) //nolint:wrapcheck // the caller's own
		}
		waited := time.Since(begin)
		err = next.answer
		foreign := errors.Is(err, warmup.ErrForeign)
		if err == nil || foreign {
			err = send()
		}
		if g.passing(err) && !foreign {
			continue
		}
		if unsent(err) {
			g.waited(waited, err)
		} else {
			g.waited(waited, nil)
		}
		return err
	}
}

// question is the next one, asked after a pause: all who wait meanwhile share it. It is
// asked even if they leave, so it is nobody's who leaves.
func (g *Gate) question(cold error) *question {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		next := &question{cold: cold, answered: make(chan struct{})}
		g.next = next
		time.AfterFunc(pause, func() {
			next.answer = g.verdict(context.Background())
			g.mu.Lock()
			g.next = nil
			g.mu.Unlock()
			close(next.answered)
		})
	}
	return g.next
}

// verdict is nil while the model is warm. In a replica that is to leave, the warm-up may
// have gone before: what was warm then can't have been started again since.
func (g *Gate) verdict(ctx context.Context) error {
	status, err := g.ask(ctx)
	switch {
	case errors.Is(err, warmup.ErrForeign) || err == nil && status.State.Serves():
		return err
	case err == nil:
		return &ColdError{Reason: status.Reason, Final: status.State.Ended() || status.State == warmup.Waiting && g.leaves()}
	case g.leaves():
		return nil
	}
	return &ColdError{Reason: err.Error()}
}

// passing tells whether the model may be warm soon: it has ended and is started again,
// or is warmed up.
func (g *Gate) passing(err error) bool {
	if cold := (*ColdError)(nil); errors.As(err, &cold) {
		return !cold.Final
	}
	return errors.Is(err, syscall.ECONNREFUSED) && !g.leaves()
}

// unsent tells whether an error is that no connection was opened.
func unsent(err error) bool {
	var cold *ColdError
	var dialled *net.OpError
	return errors.As(err, &cold) || errors.As(err, &dialled) && dialled.Op == "dial"
}

func (g *Gate) leaves() bool {
	select {
	case <-g.leaving:
		return true
	default:
		return false
	}
}

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
	// most bounds the connections that wait at once, as Knative bounds those that
	// queue-proxy keeps.
	most = 1000
	// pause lies between two questions while connections wait.
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

// Gate opens connections to a model while that is warm.
type Gate struct {
	dial Dialer
	ask  Asker
	// patience bounds the wait of a connection.
	patience time.Duration
	waiting  chan struct{}
	// waited is told of each wait, and of its error.
	waited func(time.Duration, error)
	// leaving is closed when the replica is to leave: what ends then is not started again.
	leaving <-chan struct{}

	mu    sync.Mutex
	asked time.Time
	last  error
}

// New returns a Gate whose connections wait for as long as patience, each of which is
// told to waited. Leaving is closed when the replica is to leave.
func New(dial Dialer, ask Asker, patience time.Duration, waited func(time.Duration, error), leaving <-chan struct{}) *Gate {
	return &Gate{dial: dial, ask: ask, patience: patience, waiting: make(chan struct{}, most), waited: waited, leaving: leaving}
}

// Dial opens a connection once the model is warm. It asks after it has connected: what
// the answer speaks of either took this connection, or has ended, and the connection
// with it. Requests on a connection that is open need no question for the same reason.
//
// It returns a ColdError when the warm-up has failed, when the wait takes too long, or
// when too many wait already.
func (g *Gate) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := g.open(ctx, network, address)
	if !g.passing(err) {
		return conn, err
	}
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return nil, &ColdError{Reason: fmt.Sprintf("%d connections wait for it already", most), Final: true}
	}
	begin := time.Now()
	conn, err = g.await(ctx, network, address, err)
	g.waited(time.Since(begin), err)
	return conn, err
}

// await opens a connection as soon as that is possible, after an error.
func (g *Gate) await(ctx context.Context, network, address string, err error) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
		// Nothing connects to a model that is known to be cold: a server that serves one
		// connection at a time would keep its warm-up waiting for ours.
		err = g.lately(ctx)
		if errors.Is(err, warmup.ErrForeign) {
			return g.dial(ctx, network, address)
		}
		var conn net.Conn
		if err == nil {
			conn, err = g.open(ctx, network, address)
		}
		if !g.passing(err) {
			return conn, err
		}
	}
}

// open connects, unless the model turns out to be cold.
func (g *Gate) open(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := g.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := g.verdict(ctx); err != nil && !errors.Is(err, warmup.ErrForeign) {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// lately is the verdict as of a moment ago: of all that wait, one asks.
func (g *Gate) lately(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) >= pause {
		g.last, g.asked = g.verdict(ctx), time.Now()
	}
	return g.last
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

func (g *Gate) leaves() bool {
	select {
	case <-g.leaving:
		return true
	default:
		return false
	}
}

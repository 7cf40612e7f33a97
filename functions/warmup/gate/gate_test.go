package gate

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const patience = 10 * time.Second

// replica is a model and its warm-up.
type replica struct {
	mu        sync.Mutex
	listening bool
	state     warmup.State
	unknown   error
	asked     int
	connected int
	leaving   chan struct{}
}

func (r *replica) is(listening bool, state warmup.State, unknown error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening, r.state, r.unknown = listening, state, unknown
}

func (r *replica) dial(context.Context, string, string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listening {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	r.connected++
	conn, _ := net.Pipe()
	return conn, nil
}

func (r *replica) ask(context.Context) (warmup.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return warmup.Status{State: r.state, Reason: "so it says"}, r.unknown
}

// outcome is what became of a connection, and after how long.
type outcome struct {
	conn  net.Conn
	err   error
	after time.Duration
}

// silent is told of waits that are not looked at.
func silent(time.Duration, error) {}

// begin has a request come, which is sent once there is a connection.
func (r *replica) begin(ctx context.Context, g *Gate) <-chan outcome {
	done := make(chan outcome, 1)
	begin := time.Now()
	go func() {
		var conn net.Conn
		send := func() (err error) {
			conn, err = g.Dial(context.WithoutCancel(ctx), "tcp", "model")
			return err
		}
		err := g.again(ctx, send(), send)
		done <- outcome{conn, err, time.Since(begin)}
	}()
	synctest.Wait()
	return done
}

func TestConnections(t *testing.T) {
	t.Parallel()
	unreachable := errors.New("no answer")
	for _, c := range []struct {
		name string
		// The replica at first, and what has become of it two seconds later.
		before, after func(r *replica)
		want          time.Duration
		wantErr       string
		connected     int
	}{
		{name: "a warm model", before: func(r *replica) { r.is(true, warmup.Warm, nil) }, connected: 1},
		{name: "one that serves cold, as wanted", before: func(r *replica) { r.is(true, warmup.ServingCold, nil) }, connected: 1},
		{
			name: "one that has ended", before: func(r *replica) { r.is(false, warmup.Waiting, nil) },
			after: func(r *replica) { r.is(true, warmup.Warm, nil) }, want: 2 * time.Second, connected: 1,
		},
		{
			name: "one that listens again before it is warm", before: func(r *replica) { r.is(true, warmup.Warming, nil) },
			after: func(r *replica) { r.is(true, warmup.Warm, nil) }, want: 2 * time.Second, connected: 2,
		},
		{
			name: "a warm-up that restarts", before: func(r *replica) { r.is(true, "", unreachable) },
			after: func(r *replica) { r.is(true, warmup.Warm, nil) }, want: 2 * time.Second, connected: 2,
		},
		{
			name: "one that is never warm", before: func(r *replica) { r.is(true, warmup.Warming, nil) },
			want: patience, wantErr: "so it says", connected: 1,
		},
		{
			name: "one that can't be warmed up", before: func(r *replica) { r.is(true, warmup.Failed, nil) },
			wantErr: "so it says", connected: 1,
		},
		{
			name: "one whose warm-up fails meanwhile", before: func(r *replica) { r.is(false, warmup.Waiting, nil) },
			after: func(r *replica) { r.is(true, warmup.Failed, nil) }, want: 2 * time.Second, wantErr: "so it says",
		},
		{
			name: "a model that ends while its replica leaves", before: func(r *replica) { r.is(false, warmup.Waiting, nil); close(r.leaving) },
			wantErr: "refused",
		},
		{
			name: "one that has ended, whose replica leaves then", before: func(r *replica) { r.is(false, warmup.Waiting, nil) },
			after: func(r *replica) { close(r.leaving) }, want: 2 * time.Second, wantErr: "so it says",
		},
		{
			name: "one that is warmed up while its replica leaves", before: func(r *replica) { r.is(true, warmup.Warming, nil); close(r.leaving) },
			after: func(r *replica) { r.is(true, warmup.Warm, nil) }, want: 2 * time.Second, connected: 2,
		},
		{
			name: "a warm-up that has left first", before: func(r *replica) { r.is(true, "", unreachable) },
			after: func(r *replica) { close(r.leaving) }, want: 2 * time.Second, connected: 2,
		},
		{name: "something that isn't warmed up", before: func(r *replica) { r.is(true, "", warmup.ErrForeign) }, connected: 1},
		{
			name: "such that has ended", before: func(r *replica) { r.is(false, "", warmup.ErrForeign) },
			want: pause, wantErr: "refused",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &replica{leaving: make(chan struct{})}
				c.before(r)
				var waited time.Duration
				done := r.begin(t.Context(), New(r.dial, r.ask, patience, func(d time.Duration, _ error) { waited = d }, r.leaving))
				time.Sleep(2 * time.Second)
				if c.after != nil {
					c.after(r)
				}
				got := <-done
				if (got.err == nil) != (got.conn != nil) || (c.wantErr == "") != (got.err == nil) {
					t.Fatalf("%v, %v; want an error: %t", got.conn, got.err, c.wantErr != "")
				}
				if got.err != nil && !strings.Contains(got.err.Error(), c.wantErr) {
					t.Errorf("error %q, want %q in it", got.err, c.wantErr)
				}
				if got.after < c.want || got.after > c.want+pause {
					t.Errorf("after %s, want %s", got.after, c.want)
				}
				if waited != got.after {
					t.Errorf("%s is told as a wait", waited)
				}
				if r.connected != c.connected {
					t.Errorf("the model was connected to %d times, want %d", r.connected, c.connected)
				}
			})
		})
	}
}

// What is asked before the connection may speak of a model that has ended since.
func TestAsksAfterItHasConnected(t *testing.T) {
	t.Parallel()
	r := &replica{}
	r.is(true, warmup.Warm, nil)
	conn, err := New(func(ctx context.Context, network, address string) (net.Conn, error) {
		defer r.is(true, warmup.Warming, nil)
		return r.dial(ctx, network, address)
	}, r.ask, 0, silent, nil).Dial(t.Context(), "tcp", "model")
	if cold := (*ColdError)(nil); conn != nil || !errors.As(err, &cold) {
		t.Errorf("%v, %v", conn, err)
	}
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &replica{}
		r.is(false, warmup.Waiting, nil)
		g := New(r.dial, r.ask, patience, silent, nil)
		ctx, leave := context.WithCancel(t.Context())
		left := r.begin(ctx, g)
		leave()
		if got := <-left; got.err == nil || got.after != 0 {
			t.Errorf("who has left waits for %s", got.after)
		}
		waiting := make([]<-chan outcome, most)
		for i := range waiting {
			waiting[i] = r.begin(t.Context(), g)
		}
		if got := <-r.begin(t.Context(), g); got.err == nil || got.after != 0 || !strings.Contains(got.err.Error(), "1000 requests wait") {
			t.Errorf("one too many: %v after %s", got.err, got.after)
		}
		for _, done := range waiting {
			if got := <-done; got.err == nil || got.after > patience {
				t.Fatalf("%v after %s", got.err, got.after)
			}
		}
		if asked := int(patience/pause) + 1; r.asked > asked {
			t.Errorf("asked %d times for all that waited, want at most %d", r.asked, asked)
		}
	})
}

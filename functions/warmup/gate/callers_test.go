package gate

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// soon bounds what takes no time on a machine that is not too busy.
const soon = 30 * time.Second

// A Transport's dials outlive the requests that they are for. Whoever goes away is at the
// gate no more all the same: keeps no place from others, and the model gets no connection
// for it once it is warm.
func TestCallersLeave(t *testing.T) {
	t.Parallel()
	const leave, stay = most + 5, 10
	for _, c := range []struct {
		name      string
		major     int
		listening bool
	}{
		{"by HTTP/1.1 a model that has ended", 1, false}, {"by HTTP/1.1 one that listens", 1, true},
		{"by HTTP/2 a model that has ended", 2, false}, {"by HTTP/2 one that listens", 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model := echo(t)
			r := &replica{}
			r.is(c.listening, warmup.Warming, nil)
			var opened atomic.Int32
			g := New(func(ctx context.Context, network, address string) (net.Conn, error) {
				opened.Add(1)
				return r.dialReally(ctx, network, address)
			}, r.ask, time.Minute, silent, nil)
			transport := g.Transport(most)
			callers := func(ctx context.Context, n int) []<-chan error {
				all := make([]<-chan error, n)
				for i := range all {
					all[i] = call(ctx, transport, c.major, model)
				}
				return all
			}

			ctx, end := context.WithCancel(t.Context())
			left := callers(ctx, leave)
			until(t, "as many as may wait", func() bool { return len(g.waiting) == most })
			end()
			for _, done := range left {
				select {
				case err := <-done:
					if err == nil {
						t.Error("answered by a model that is cold")
					}
				case <-time.After(soon):
					t.Fatal("a caller has left and is kept")
				}
			}
			stayed := callers(t.Context(), stay)
			until(t, "none but those who stay", func() bool { return len(g.waiting) == stay })
			// A dial outlives its caller: those of callers who left may still be under way.
			before, quiet := opened.Load(), 0
			until(t, "no dial under way", func() bool {
				last := before
				if before = opened.Load(); before != last {
					quiet = 0
				}
				quiet++
				return quiet == 50
			})
			r.is(true, warmup.Warm, nil)
			for _, done := range stayed {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if n := opened.Load() - before; n > stay {
				t.Errorf("the model has %d connections more, for %d callers", n, stay)
			}
		})
	}
}

// dialReally connects, where the model is said to listen.
func (r *replica) dialReally(ctx context.Context, network, address string) (net.Conn, error) {
	if conn, err := r.dial(ctx, network, address); err != nil {
		return conn, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// echo is a model that answers with what it is sent.
func echo(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// call sends a request with a body, and tells whether that came back.
func call(ctx context.Context, transport http.RoundTripper, major int, model string) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			const text = "all of the body"
			sent := &watched{Reader: strings.NewReader(text)}
			request := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://"+model, sent)
			request.ProtoMajor = major
			response, err := transport.RoundTrip(request)
			if err != nil {
				if !sent.closed.Load() {
					err = fmt.Errorf("the body was left open: %w", err)
				}
				return err
			}
			defer func() { _ = response.Body.Close() }()
			got, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK || string(got) != text {
				return fmt.Errorf("got %d %q, %w", response.StatusCode, got, err)
			}
			return nil
		}()
	}()
	return done
}

// watched is a body.
type watched struct {
	io.Reader

	closed atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	if w.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return w.Reader.Read(p) //nolint:wrapcheck // EOF is EOF
}

func (w *watched) Close() error {
	w.closed.Store(true)
	return nil
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %s", what, soon)
		}
	}
}

// A body is closed where its request is given up, and not before.
func TestBodiesAreClosed(t *testing.T) {
	t.Parallel()
	for _, major := range []int{1, 2} {
		r := &replica{}
		r.is(true, warmup.Failed, nil)
		sent := &watched{Reader: strings.NewReader("body")}
		request := httptest.NewRequest(http.MethodPost, "http://model", sent)
		request.ProtoMajor = major
		response, err := New(r.dial, r.ask, patience, silent, nil).Transport(1).RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusServiceUnavailable || !sent.closed.Load() {
			t.Errorf("HTTP/%d: %v, %v, closed: %t", major, response, err, sent.closed.Load())
		}
		_ = response.Body.Close()
	}
}

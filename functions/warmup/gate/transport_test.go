package gate

import (
	"context"
	"errors"
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

// serve has a model of both protocols listen, and returns its address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = protocols
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestTransport(t *testing.T) {
	t.Parallel()
	model := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})
	for _, c := range []struct {
		major int
		proto string
	}{{1, "HTTP/1.1"}, {2, "HTTP/2.0"}} {
		t.Run(c.proto, func(t *testing.T) {
			t.Parallel()
			r := &replica{}
			transport := New((&net.Dialer{}).DialContext, r.ask, time.Second, silent, nil).Transport(1)
			send := func(wantCode int, want string) {
				t.Helper()
				request := httptest.NewRequest(http.MethodPost, "http://"+model, strings.NewReader("body"))
				request.ProtoMajor = c.major
				response, err := transport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != wantCode || string(body) != want {
					t.Errorf("%d %q, %v; want %d %q", response.StatusCode, body, err, wantCode, want)
				}
			}
			r.is(true, warmup.Warming, nil)
			send(http.StatusServiceUnavailable, "the model is not warm: so it says\n")
			r.is(true, warmup.Warm, nil)
			send(http.StatusOK, c.proto)
			asked := r.asked
			send(http.StatusOK, c.proto)
			if r.asked != asked {
				t.Error("asked for a request on a connection that was open")
			}
		})
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		code    int
		answer  string
		want    warmup.State
		foreign bool
	}{
		{name: "a warm-up", code: http.StatusOK, answer: `{"state": "Warming"}`, want: warmup.Warming},
		{name: "a later one, which says more", code: http.StatusOK, answer: `{"state": "Warm", "more": []}`, want: warmup.Warm},
		{name: "without such a path", code: http.StatusNotFound, answer: "no such page", foreign: true},
		{name: "another's status", code: http.StatusOK, answer: `{"status": "up"}`, foreign: true},
		{name: "no JSON", code: http.StatusOK, answer: "up", foreign: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != warmup.StatusPath {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(c.code)
				_, _ = io.WriteString(w, c.answer)
			})
			status, err := Ask(address)(t.Context())
			if errors.Is(err, warmup.ErrForeign) != c.foreign || (!c.foreign && (err != nil || status.State != c.want)) {
				t.Errorf("%+v, %v", status, err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		t.Parallel()
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		if _, err := Ask(listener.Addr().String())(t.Context()); err == nil || errors.Is(err, warmup.ErrForeign) {
			t.Errorf("got %v", err)
		}
	})
}

// What a new connection to a warm model costs, without the gate and with it. The model
// and its warm-up are in the same process, so their part is in it too.
func BenchmarkConnection(b *testing.B) {
	model := httptest.NewServer(http.NotFoundHandler())
	defer model.Close()
	status := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"state": "Warm"}`)
	}))
	defer status.Close()
	dialer := &net.Dialer{}
	g := New(dialer.DialContext, Ask(status.Listener.Addr().String()), 0, silent, nil)
	for name, dial := range map[string]Dialer{"plain": dialer.DialContext, "gate": g.Dial} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				conn, err := dial(b.Context(), "tcp", model.Listener.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				_ = conn.Close()
			}
		})
	}
}

// What a request to a warm model costs on a connection that is kept, without the gate
// and with it.
func BenchmarkRequest(b *testing.B) {
	model := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer model.Close()
	var asked, dialled atomic.Int64
	g := New(func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}, func(context.Context) (warmup.Status, error) {
		asked.Add(1)
		return warmup.Status{State: warmup.Warm}, nil
	}, 0, silent, nil)
	with := g.Transport(1)
	for name, by := range map[string]http.RoundTripper{"plain": with.(*transport).one, "gate": with} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				response, err := by.RoundTrip(httptest.NewRequest(http.MethodPost, model.URL, strings.NewReader("body")))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
	if asked.Load() != dialled.Load() {
		b.Errorf("asked %d times for %d connections", asked.Load(), dialled.Load())
	}
}

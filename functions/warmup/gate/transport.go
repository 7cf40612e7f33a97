package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// askFor bounds one question.
	askFor = time.Second
	// questions bounds those that are asked at once.
	questions = 8
)

// Ask returns an Asker for the warm-up at an address, host and port.
func Ask(address string) Asker {
	client := &http.Client{Timeout: askFor, Transport: &http.Transport{MaxConnsPerHost: questions, MaxIdleConnsPerHost: questions, IdleConnTimeout: time.Minute}}
	return func(ctx context.Context) (warmup.Status, error) { return warmup.Ask(ctx, client, address) }
}

// Transport returns what queue-proxy sends requests to the model with: HTTP/1.1, or
// HTTP/2 without TLS where the request came by that, as Knative's own does. It keeps
// that many idle connections. Requests to a model that is cold wait in it, or are
// answered with 503.
func (g *Gate) Transport(idle int) http.RoundTripper {
	one := http.DefaultTransport.(*http.Transport).Clone()
	one.DialContext = g.Dial
	one.MaxIdleConns, one.MaxIdleConnsPerHost = idle, idle
	one.ForceAttemptHTTP2, one.DisableCompression = false, true
	return &transport{gate: g, one: one, two: &http2.Transport{
		AllowHTTP: true, DisableCompression: true,
		DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return g.Dial(ctx, network, address)
		},
	}}
}

type transport struct {
	gate     *Gate
	one, two http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	by := t.one
	if r.ProtoMajor == 2 {
		by = t.two
	}
	response, err := send(by, r)
	if err == nil {
		return response, nil
	}
	err = t.gate.again(r.Context(), err, func() (err error) {
		response, err = send(by, r) //nolint:bodyclose // it is the caller's
		return err
	})
	if err == nil {
		return response, nil
	}
	if r.Body != nil {
		_ = r.Body.Close() // a second time does no harm
	}
	if cold := (*ColdError)(nil); errors.As(err, &cold) {
		return unavailable(r, cold), nil
	}
	return nil, err
}

// send sends a request. One that no connection could be opened for is left as it was, to
// be sent again.
func send(by http.RoundTripper, r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return by.RoundTrip(r) //nolint:wrapcheck // it is a Transport itself
	}
	kept := &body{ReadCloser: r.Body}
	r = r.WithContext(r.Context())
	// Without GetBody no Transport sends it again of its own accord once it was read.
	r.Body, r.GetBody = kept, nil
	response, err := by.RoundTrip(r)
	if err == nil || !unsent(err) {
		kept.release()
	}
	return response, err //nolint:wrapcheck // it is a Transport itself
}

// body is that of a request that may have to be sent again: a Transport closes it even
// where it could open no connection. It is closed once it is released.
type body struct {
	io.ReadCloser

	mu               sync.Mutex
	released, closed bool
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if !b.released {
		return nil
	}
	return b.ReadCloser.Close() //nolint:wrapcheck // it stands for it
}

func (b *body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released = true
	if b.closed {
		_ = b.ReadCloser.Close()
	}
}

func unavailable(r *http.Request, cold *ColdError) *http.Response {
	text := cold.Error() + "\n"
	return &http.Response{
		StatusCode: http.StatusServiceUnavailable, Status: http.StatusText(http.StatusServiceUnavailable),
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Request: r,
		Header:        http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		Body:          io.NopCloser(strings.NewReader(text)),
		ContentLength: int64(len(text)),
	}
}

package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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
// that many idle connections, and answers 503 for a model that is cold.
func (g *Gate) Transport(idle int) http.RoundTripper {
	one := http.DefaultTransport.(*http.Transport).Clone()
	one.DialContext = g.Dial
	one.MaxIdleConns, one.MaxIdleConnsPerHost = idle, idle
	one.ForceAttemptHTTP2, one.DisableCompression = false, true
	return &transport{one: one, two: &http2.Transport{
		AllowHTTP: true, DisableCompression: true,
		DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return g.Dial(ctx, network, address)
		},
	}}
}

type transport struct{ one, two http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	by := t.one
	if r.ProtoMajor == 2 {
		by = t.two
	}
	response, err := by.RoundTrip(r)
	if cold := (*ColdError)(nil); errors.As(err, &cold) {
		return unavailable(r, cold), nil
	}
	return response, err
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

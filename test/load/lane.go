package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Connection is a kind of connection that requests are sent over.
type Connection int

const (
	// KeepAlive is HTTP/1.1 over connections that are kept and used again.
	KeepAlive Connection = iota
	// HTTP2 is HTTP/2 over a connection that is kept: with prior knowledge over
	// plain TCP, negotiated over TLS.
	HTTP2
	// Fresh is HTTP/1.1 over a new connection for each request.
	Fresh
)

// String says it in a few words.
func (c Connection) String() string {
	switch c {
	case HTTP2:
		return "pooled HTTP/2"
	case Fresh:
		return "a new connection each"
	default:
		return "keep-alive HTTP/1.1"
	}
}

// major is the HTTP version that it speaks.
func (c Connection) major() int {
	if c == HTTP2 {
		return 2
	}
	return 1
}

// lane is a pool of connections of one kind.
type lane struct {
	connection Connection
	pool       *http.Transport
}

// lane is a pool of connections to the target's address and to nowhere else:
// whatever a request or an answer says, this is what is dialed.
func (t Target) lane(connection Connection, idle int) lane {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	var protocols http.Protocols
	protocols.SetHTTP1(connection != HTTP2)
	protocols.SetHTTP2(connection == HTTP2)
	protocols.SetUnencryptedHTTP2(connection == HTTP2 && t.Roots == nil)
	return lane{connection: connection, pool: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", t.Address)
		},
		TLSClientConfig:     &tls.Config{RootCAs: t.Roots, ServerName: t.hostname(), MinVersion: tls.VersionTLS12},
		Protocols:           &protocols,
		DisableKeepAlives:   connection == Fresh,
		DisableCompression:  true,
		MaxIdleConnsPerHost: idle,
		MaxIdleConns:        idle,
	}}
}

// send sends one request and reads the whole answer. What the pool repeats on its
// own is in the outcome.
func (l lane) send(ctx context.Context, template *http.Request, body []byte) outcome {
	var written atomic.Int32
	request := template.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Of all that is told, this alone comes before the answer can.
		WroteHeaderField: func(key string, _ []string) {
			if key == "Host" || key == ":authority" {
				written.Add(1)
			}
		},
	}))
	if len(body) > 0 {
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	got := outcome{connection: l.connection}
	got.status, got.header, got.err = l.exchange(request)
	got.repeats = max(0, int(written.Load())-1)
	return got
}

func (l lane) exchange(request *http.Request) (int, http.Header, error) {
	response, err := l.pool.RoundTrip(request)
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer with status %d: %w", response.StatusCode, err)
	}
	if response.ProtoMajor != l.connection.major() {
		return 0, nil, fmt.Errorf("answered with status %d by %s", response.StatusCode, response.Proto)
	}
	return response.StatusCode, response.Header, nil
}

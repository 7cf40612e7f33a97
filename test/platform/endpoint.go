package platform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Endpoint is a Model's place on a gateway.
type Endpoint struct {
	// Address is the gateway's, "IP:port".
	Address string
	// Host is the Model's.
	Host string
}

// URL is the address of a path, for a client that dials by Dial.
func (e Endpoint) URL(path string) string { return "http://" + e.Host + path }

// Dial opens a connection to the gateway.
func (e Endpoint) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", e.Address)
}

// Transport sends requests to the gateway, whatever host they name.
func (e Endpoint) Transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Post sends one request on a connection of its own and returns the answer's
// status, its body, and the time from sending to the answer's last byte.
func (e Endpoint) Post(ctx context.Context, path string, body []byte) (int, []byte, time.Duration, error) {
	return e.send(ctx, http.MethodPost, path, body)
}

// Get is Post without a body.
func (e Endpoint) Get(ctx context.Context, path string) (int, []byte, time.Duration, error) {
	return e.send(ctx, http.MethodGet, path, nil)
}

func (e Endpoint) send(ctx context.Context, method, path string, body []byte) (int, []byte, time.Duration, error) {
	transport := e.Transport()
	transport.DisableKeepAlives = true
	client := http.Client{Transport: transport}
	request, err := http.NewRequestWithContext(ctx, method, e.URL(path), bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, fmt.Errorf("building a request: %w", err)
	}
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, 0, fmt.Errorf("asking %s at %s: %w", e.Host, e.Address, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, 0, fmt.Errorf("reading the answer of %s: %w", e.Host, err)
	}
	return response.StatusCode, answer, time.Since(start), nil
}

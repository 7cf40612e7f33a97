package warmup

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// maxAnswer bounds what is kept of an answer, to compare it.
	maxAnswer = 4 << 20
	// maxShown bounds what is shown of an answer.
	maxShown = 200
	// grpcPrefix is the length of what precedes a message: whether it is compressed,
	// and its length.
	grpcPrefix = 5
	// grpcUnavailable is the code of a server that can't answer yet.
	grpcUnavailable = 14
)

// Client sends requests to the model on this host, over HTTP/1.1 or, without TLS,
// HTTP/2, which is all that gRPC asks of a connection.
type Client struct {
	address   string
	bodies    string
	transport *http.Transport
	prober    *prober
}

// NewClient returns a Client for a model and so many requests at once; bodies is
// where the files are that a plan names.
func NewClient(model warmup.Target, concurrency int, bodies string) *Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!model.H2C)
	protocols.SetUnencryptedHTTP2(model.H2C)
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	return &Client{
		address: onThisHost(model.Port),
		bodies:  bodies,
		transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: concurrency, DisableCompression: true, Protocols: &protocols,
		},
		prober: newProber(dialer),
	}
}

// onThisHost is the address of a port of the pod.
func onThisHost(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Ask asks one of the model's own probes; nil means that it passes.
func (c *Client) Ask(ctx context.Context, p *warmup.Probe) error { return c.prober.ask(ctx, p) }

// Close ends the idle connections: a server that serves one at a time waits for
// nobody.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// unexpectedError is another answer than the expected one, or none.
type unexpectedError struct {
	answer string
	// passing is true of answers that a model gives while it isn't ready yet.
	passing bool
}

func (e *unexpectedError) Error() string { return e.answer }

// Call sends a request. Its error is an *unexpectedError, or says why there was no
// request.
func (c *Client) Call(ctx context.Context, r *warmup.Request) error {
	request, err := c.build(ctx, r)
	if err != nil {
		return err
	}
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return &unexpectedError{answer: "no answer: " + err.Error(), passing: true}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
	}
	if err != nil {
		return &unexpectedError{answer: fmt.Sprintf("%d, and no whole body: %v", answer.StatusCode, err), passing: true}
	}
	if r.GRPC != "" {
		return checkGRPC(r.Expect, answer, body)
	}
	return checkHTTP(r.Expect, answer.StatusCode, body)
}

func (c *Client) build(ctx context.Context, r *warmup.Request) (*http.Request, error) {
	body, err := c.body(r)
	if err != nil {
		return nil, err
	}
	method, path := r.Method, r.Path
	if method == "" {
		method = http.MethodGet
		if len(body) > 0 {
			method = http.MethodPost
		}
	}
	if r.GRPC != "" {
		method, path = http.MethodPost, "/"+r.GRPC
		body = framed(body)
	}
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, fmt.Errorf("path of %s: %w", r, err)
	}
	target.Scheme, target.Host = "http", c.address
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", r, err)
	}
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	if r.GRPC != "" {
		asGRPC(request)
	}
	request.Header.Set(warmup.MarkerHeader, "true")
	return request, nil
}

func (c *Client) body(r *warmup.Request) ([]byte, error) {
	switch {
	case r.BodyFile != "":
		body, err := os.ReadFile(filepath.Join(c.bodies, filepath.Base(r.BodyFile)))
		if err != nil {
			return nil, fmt.Errorf("body of %s: %w", r, err)
		}
		return body, nil
	case r.Body != "":
		return []byte(r.Body), nil
	default:
		return r.BodyBytes, nil
	}
}

// asGRPC has a server take a request for a call of gRPC.
func asGRPC(request *http.Request) {
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
}

func framed(message []byte) []byte {
	frame := make([]byte, grpcPrefix, grpcPrefix+len(message))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
	return append(frame, message...)
}

// shown is the beginning of an answer, on one line.
func shown(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxShown)]), "\uFFFD")), " ")
	if len(body) > maxShown {
		text += "…"
	}
	return text
}

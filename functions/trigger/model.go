package trigger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice.dev/sluice/functions/trigger/mapping"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 8 << 20
	// small answers are read without waiting for room, of which there is enough for some large ones.
	small, largeAtOnce = 64 << 10, 4
	// dialWithin bounds the way to the gateway.
	dialWithin = 5 * time.Second
	// keyHeader names the event, so that a Model can tell that it was asked before.
	keyHeader = "Idempotency-Key"
)

// models asks Models as their online callers do.
type models struct {
	client *http.Client
	large  chan struct{}
}

func newModels() *models {
	return &models{
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: dialWithin}).DialContext,
				MaxIdleConnsPerHost: perTrigger, MaxIdleConns: atOnce, IdleConnTimeout: 30 * time.Second,
				// An answer is handed on as the Model gives it to those who don't ask for another.
				DisableCompression: true,
			},
			// Where else a request should go isn't the Model's to say.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		large: make(chan struct{}, largeAtOnce),
	}
}

// question is a request, to whom, for which event and for how long.
type question struct {
	mapping.Request
	model   string
	key     string
	timeout time.Duration
	// trace is what the event's own request says of the trace that it belongs to.
	trace http.Header
}

// traced are the headers of W3C's trace context.
var traced = []string{"Traceparent", "Tracestate"}

// ask asks a Model once.
func (m *models) ask(ctx context.Context, q question) answer {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	request, err := q.build(ctx)
	if err != nil {
		return answer{status: http.StatusUnprocessableEntity, problem: fmt.Sprintf("request: %v", err)}
	}
	got, err := m.client.Do(request)
	if err != nil {
		return unanswered(ctx, q, err)
	}
	defer got.Body.Close()
	out, err := m.read(ctx, got.Body)
	switch {
	case err != nil:
		out.release()
		return unanswered(ctx, q, err)
	case len(out.body) > maxAnswer:
		out.release()
		return answer{status: got.StatusCode, tooLong: true, problem: fmt.Sprintf("the Model's answer, with status %d, is longer than %d bytes", got.StatusCode, maxAnswer)}
	}
	out.status, out.contentType, out.retryAfter = got.StatusCode, got.Header.Get("Content-Type"), got.Header.Get("Retry-After")
	return out
}

func (q question) build(ctx context.Context) (*http.Request, error) {
	target, err := url.Parse(q.model)
	if err != nil {
		return nil, fmt.Errorf("reading the Model's URL: %w", err)
	}
	path, err := url.ParseRequestURI(q.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the path: %w", err)
	}
	// The path's own host, if it has one by two slashes, is part of the path.
	at := *target
	at.Path, at.RawPath, at.RawQuery = path.Path, path.RawPath, path.RawQuery
	var body io.Reader
	if len(q.Body) > 0 {
		body = bytes.NewReader(q.Body)
	}
	request, err := http.NewRequestWithContext(ctx, q.Method, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("building it: %w", err)
	}
	for _, name := range traced {
		if value := q.trace.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	for name, value := range q.Headers {
		request.Header.Set(name, value)
	}
	if request.Header.Get("Content-Type") == "" && q.ContentType != "" {
		if !httpguts.ValidHeaderFieldValue(q.ContentType) {
			return nil, fmt.Errorf("datacontenttype %q can't be a header's value, which is one line without control characters; correct the event, or set request.headers[Content-Type]", q.ContentType)
		}
		request.Header.Set("Content-Type", q.ContentType)
	}
	request.Header.Set(keyHeader, q.key)
	return request, nil
}

// read reads an answer's body, up to a byte more than may be, once there is room for it.
func (m *models) read(ctx context.Context, from io.Reader) (answer, error) {
	begin, err := io.ReadAll(io.LimitReader(from, small))
	if err != nil || len(begin) < small {
		return answer{body: begin}, err
	}
	select {
	case m.large <- struct{}{}:
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	rest, err := io.ReadAll(io.LimitReader(from, maxAnswer+1-small))
	return answer{body: append(begin, rest...), free: sync.OnceFunc(func() { <-m.large })}, err
}

func (a answer) release() {
	if a.free != nil {
		a.free()
	}
}

// unanswered is of a request that got no whole answer.
func unanswered(ctx context.Context, q question, err error) answer {
	dial := &net.OpError{}
	switch {
	// First: the end of the request's time ends a dial, too.
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return answer{late: true, problem: fmt.Sprintf("the Model gave no answer within %s (spec.request.timeout)", q.timeout)}
	case errors.As(err, &dial) && dial.Op == "dial":
		return answer{problem: fmt.Sprintf("the Model can't be reached: %v", dial)}
	}
	return answer{problem: fmt.Sprintf("the Model gave no answer: %v", err)}
}

package trigger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice.dev/sluice/functions/answers"
	"sluice.dev/sluice/functions/trigger/mapping"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 8 << 20
	// small answers are held as they come, of larger ones largeAtOnce, and each of these may be
	// another InferenceTrigger's.
	small, largeAtOnce = 64 << 10, shares
	// keyHeader names the event, so that a Model can tell that it was asked before.
	keyHeader = "Idempotency-Key"
)

// models asks Models as their online callers do.
type models struct {
	client *http.Client
	room   *answers.Room
}

func newModels() *models {
	return &models{client: answers.Client(perTrigger, atOnce), room: answers.NewRoom(small, largeAtOnce, largeAtOnce/shares)}
}

// question is a request, to whom, for which event and for how long.
type question struct {
	mapping.Request
	model string
	key   string
	// owner is whose part of the room the answer takes.
	owner   string
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
	if answers.Unrouted(got) {
		return answer{problem: "the gateway has no route to the Model, which isn't there yet or any more"}
	}
	var out answer
	out.body, out.free, err = m.room.Read(ctx, q.owner, got.Body, maxAnswer)
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

func (a answer) release() {
	if a.free != nil {
		a.free()
	}
}

// unanswered is of a request that got no whole answer.
func unanswered(ctx context.Context, q question, err error) answer {
	// First: the end of the request's time ends a dial, too.
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return answer{late: true, problem: fmt.Sprintf("the Model gave no answer within %s (spec.request.timeout)", q.timeout)}
	}
	if dial, ok := answers.Undialled(err); ok {
		return answer{problem: fmt.Sprintf("the Model can't be reached: %v", dial)}
	}
	return answer{problem: fmt.Sprintf("the Model gave no answer: %v", err)}
}

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sluice.dev/sluice/functions/answers"
	"sluice.dev/sluice/functions/batch/task"
)

// small answers are held as they come, of larger ones as many as largeAtOnce says.
const small = 256 << 10

// largeAtOnce is how many answers of the greatest length half of what a worker holds has room for.
func largeAtOnce(b *task.Bounds) int {
	return int(max(1, min(int64(b.Concurrency), b.HeldBytes/2/b.AnswerBytes)))
}

// Question is what the Model is asked.
type Question struct {
	Key         string
	Body        []byte
	ContentType string
}

// Answer is what came of it.
type Answer struct {
	// Status is 0 where there was no answer, or no whole one.
	Status int
	Body   []byte
	// RetryAfter is when to come again, if the answer says so.
	RetryAfter time.Duration
	// Problem is why there is no answer, or none that is kept.
	Problem string
	// TooLong is true of an answer over the bound, Unreached of a request that never came to the
	// Model.
	TooLong   bool
	Unreached bool
	// release gives back the room of a large answer.
	release func()
}

// Free says that the body isn't needed any more. It may be said again.
func (a Answer) Free() {
	if a.release != nil {
		a.release()
	}
}

// Asker asks the Model once.
type Asker interface {
	Ask(ctx context.Context, question Question) Answer
}

// Model is an Asker over HTTP.
type Model struct {
	client  *http.Client
	url     string
	headers http.Header
	timeout time.Duration
	bound   int64
	room    *answers.Room
}

// NewModel returns the Asker of a task.
func NewModel(t *task.Task) (*Model, error) {
	target, err := url.Parse(t.Model)
	if err != nil {
		return nil, fmt.Errorf("reading the Model's URL: %w", err)
	}
	path, err := url.ParseRequestURI(t.Request.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the request's path: %w", err)
	}
	headers := http.Header{}
	for name, value := range t.Request.Headers {
		headers.Set(name, value)
	}
	headers.Set(task.MarkHeader, t.Name)
	large := largeAtOnce(&t.Bounds)
	return &Model{
		client: answers.Client(t.Bounds.Concurrency, 0),
		url:    target.ResolveReference(path).String(), headers: headers,
		timeout: time.Duration(t.Request.Timeout), bound: t.Bounds.AnswerBytes, room: answers.NewRoom(small, large, large),
	}, nil
}

// Ask sends a request and reads the answer.
func (m *Model) Ask(ctx context.Context, question Question) Answer {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(question.Body))
	if err != nil {
		return Answer{Problem: fmt.Sprintf("no request: %v", err)}
	}
	request.Header = m.headers.Clone()
	if request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", question.ContentType)
	}
	request.Header.Set(task.KeyHeader, question.Key)
	answer, err := m.client.Do(request)
	if err != nil {
		return m.unanswered(err)
	}
	defer answer.Body.Close()
	if answers.Unrouted(answer) {
		return Answer{Unreached: true, Problem: "the gateway has no route to the Model, which isn't there yet or any more"}
	}
	read := Answer{Status: answer.StatusCode}
	read.Body, read.release, err = m.room.Read(ctx, "", answer.Body, m.bound)
	switch {
	case err != nil:
		read.Free()
		return m.unanswered(err)
	case int64(len(read.Body)) > m.bound:
		read.Free()
		return Answer{Status: read.Status, TooLong: true, Problem: fmt.Sprintf("the answer is longer than %d bytes", m.bound)}
	}
	read.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	if read.Status == http.StatusTooManyRequests {
		// Each gateway pod has its part of the limit, and a connection leads to one of them:
		// what comes next may find another that has more left.
		_ = answer.Body.Close()
		m.client.CloseIdleConnections()
	}
	return read
}

// unanswered is a request's that got no whole answer.
func (m *Model) unanswered(err error) Answer {
	if dial, ok := answers.Undialled(err); ok {
		return Answer{Unreached: true, Problem: fmt.Sprintf("the Model can't be reached: %v", dial)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Answer{Problem: fmt.Sprintf("no answer within %s (spec.request.timeout)", m.timeout)}
	}
	return Answer{Problem: fmt.Sprintf("no answer: %v", err)}
}

// retryAfter reads a header's seconds or date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/batch/worker"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/platform"
)

// gate is what a crew's workers go by.
type gate string

// As workers do without credits: by how long answers take, or by nothing.
const (
	byLatency gate = "latency alone"
	byNothing gate = "nothing"
)

const (
	// crewItems are more than a crew has time for.
	crewItems = 100_000
	// boundless is a rate that no worker comes near, in requests per second.
	boundless = 1e6
)

// crew are workers of a batch as the product has them, in this process, that ask a Model at the
// gateway without credits.
type crew struct {
	at     platform.Endpoint
	path   string
	folder string
	// lessor leases to anybody whatever is wanted.
	lessor *http.Server
	url    string
	runs   int
}

func newCrew(at platform.Endpoint, path string) (*crew, error) {
	folder, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	c := &crew{at: at, path: path, folder: folder}
	var items strings.Builder
	for i := range crewItems {
		items.WriteString(plain(i) + "\n")
	}
	err = errors.Join(
		os.Mkdir(c.below("in"), 0o700),
		os.WriteFile(c.below("in", "items.jsonl"), []byte(items.String()), 0o600),
		os.WriteFile(c.below("token"), []byte("anybody"), 0o600),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing what a crew works on: %w", err), os.RemoveAll(folder))
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for a crew: %w", err), os.RemoveAll(folder))
	}
	c.url = "http://" + listener.Addr().String()
	c.lessor = &http.Server{Handler: lessor(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = c.lessor.Serve(listener) }() // it ends by close
	return c, nil
}

// lessor leases more than can be used.
func lessor() http.Handler {
	var number atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(credits.Lease{ // an error is the worker's
			Number: number.Add(1), Rate: boundless, Burst: boundless, DurationSeconds: credits.Longest.Seconds(),
		})
	})
}

func (c *crew) below(names ...string) string {
	return filepath.Join(append([]string{c.folder}, names...)...)
}

func (c *crew) close() {
	_ = c.lessor.Close()
	_ = os.RemoveAll(c.folder)
}

// start has the crew begin anew. What it returns has them stop, and returns what had kept them
// from working until then.
func (c *crew) start(ctx context.Context, by gate) (stop func() error, err error) {
	c.runs++
	out := c.below(fmt.Sprintf("out-%d", c.runs))
	if err := os.Mkdir(out, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	t := &task.Task{
		Namespace: namespace, Name: "crew", UID: strconv.Itoa(c.runs), Model: "http://" + c.at.Host, Credits: c.url,
		Input:   task.Input{Store: task.Store{Volume: c.below("in")}, Key: "items.jsonl"},
		Output:  task.Output{Store: task.Store{Volume: out}},
		Request: task.Request{Path: c.path, Timeout: task.Duration(openloop.LongestAnswer)},
		Bounds:  task.Bounds{Shards: endlessWorkers},
	}
	t.SetDefaults()
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("a crew's task: %w", err)
	}
	from, err := input.Open(ctx, t)
	if err != nil {
		return nil, err
	}
	to, err := output.Open(ctx, t)
	if err != nil {
		return nil, err
	}
	p, err := worker.Plan(ctx, t, from, to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	working, inner := errgroup.WithContext(ctx)
	asker := newCaller(c.at, c.path)
	for i := range p.Shards {
		w := &worker.Worker{Task: t, Source: from, Output: to, Asker: asker, Folder: c.folder, Gate: open{}}
		if by == byLatency {
			leases := worker.NewLeases(t, i, "worker-"+strconv.Itoa(i), c.below("token"), w.Progress)
			w.Gate = leases
			go leases.Run(inner)
		}
		working.Go(func() error {
			if _, err := w.Run(inner, p, i); err != nil && ctx.Err() == nil {
				return fmt.Errorf("working: %w", err)
			}
			return nil
		})
	}
	return func() error {
		cancel()
		defer asker.client.CloseIdleConnections()
		return working.Wait()
	}, nil
}

// open is a gate that lets everything through.
type open struct{}

func (open) Enter(context.Context) (func(worker.Answer, time.Duration), error) {
	return func(worker.Answer, time.Duration) {}, nil
}

// caller asks a Model at the gateway as online callers do, without the mark.
type caller struct {
	client *http.Client
	url    string
}

func newCaller(at platform.Endpoint, path string) *caller {
	transport := at.Transport()
	transport.MaxIdleConnsPerHost = openloop.InFlight
	return &caller{client: &http.Client{Transport: transport, Timeout: openloop.LongestAnswer}, url: at.URL(path)}
}

// Ask asks once.
func (c *caller) Ask(ctx context.Context, question worker.Question) worker.Answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(question.Body))
	if err != nil {
		return worker.Answer{Problem: err.Error()}
	}
	request.Header.Set("Content-Type", question.ContentType)
	answer, err := c.client.Do(request)
	if err != nil {
		return worker.Answer{Problem: err.Error()}
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return worker.Answer{Problem: err.Error()}
	}
	read := worker.Answer{Status: answer.StatusCode}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		read.RetryAfter = time.Duration(seconds) * time.Second
	}
	return read
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// wakeWithin bounds the one request that wakes a service.
const wakeWithin = 30 * time.Second

// woken is the answer to the request that woke a service.
type woken struct {
	platform.Served
	// compiled is how long the model initialised and compiled for this request, as it
	// says itself.
	compiled time.Duration
}

// coldStart is how long the request waited for a replica that could answer.
func (w woken) coldStart() time.Duration { return w.Latency - w.compiled }

// wake sends one request, on a connection of its own.
func (b *bench) wake(ctx context.Context, to platform.Endpoint) (woken, error) {
	ctx, cancel := context.WithTimeout(ctx, wakeWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL(platform.InferPath), bytes.NewReader(b.prediction))
	if err != nil {
		return woken{}, fmt.Errorf("building a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	transport := to.Transport()
	transport.DisableKeepAlives = true
	sent := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return woken{}, fmt.Errorf("waking %s: %w", to.Host, err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return woken{}, fmt.Errorf("waking %s: reading the answer with status %d: %w", to.Host, response.StatusCode, err)
	}
	return readWoken(load.Answer{Due: sent, Latency: time.Since(sent), Status: response.StatusCode, Header: response.Header})
}

// readWoken reads what the first answer of a replica says of itself.
func readWoken(a load.Answer) (woken, error) {
	served, ok := platform.ReadServed(a)
	switch {
	case !ok:
		return woken{}, fmt.Errorf("answered with status %d and headers %v, want the ranker's 200", a.Status, a.Header)
	case served.Nth != 1:
		return woken{}, fmt.Errorf("%s woke nothing: it was request %d of that replica", served.Replica, served.Nth)
	}
	compiled, err := timing(a.Header.Get("Server-Timing"), "compile")
	return woken{Served: served, compiled: compiled}, err
}

// timing is one duration of a Server-Timing header: `queue;dur=0.006, compile;dur=3.150`,
// in milliseconds.
func timing(header, name string) (time.Duration, error) {
	for metric := range strings.SplitSeq(header, ",") {
		text, ok := strings.CutPrefix(strings.TrimSpace(metric), name+";dur=")
		if !ok {
			continue
		}
		took, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("Server-Timing %q: %w", header, err)
		}
		return time.Duration(took * float64(time.Millisecond)), nil
	}
	return 0, fmt.Errorf("Server-Timing %q does not tell %s", header, name)
}

// warmUpOf is what the container that warmed a replica up says of it.
func (b *bench) warmUpOf(ctx context.Context, pod string) (warmup.Status, error) {
	var told warmup.Status
	data, err := b.clients.Kube.CoreV1().Pods(namespace).
		ProxyGet("http", pod, strconv.Itoa(warmup.Port), warmup.StatusPath, nil).DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(data, &told)
	}
	if err != nil {
		return told, fmt.Errorf("reading the warm-up of %s: %w", pod, err)
	}
	if told.State != warmup.Warm {
		return told, fmt.Errorf("%s serves, but its warm-up is %s: %s", pod, told.State, told.Reason)
	}
	return told, nil
}

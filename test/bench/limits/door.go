package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// askEvery is how often a pod is asked while a change is awaited; no figure about
	// one is finer than that.
	askEvery = 5 * time.Millisecond
	// enforcedWithin bounds the wait for a change.
	enforcedWithin = 15 * time.Second
)

// door is a gateway pod by addresses of its own.
type door struct {
	pod             string
	external, local line
}

// line is one plain entry of a gateway pod.
type line struct {
	pod     string
	entry   gateway.Entry
	address string
	client  *http.Client
}

func newDoor(pod, external, local string) door {
	return door{
		pod:      pod,
		external: newLine(pod, gateway.External, external),
		local:    newLine(pod, gateway.Local, local),
	}
}

func newLine(pod string, entry gateway.Entry, address string) line {
	dialer := &net.Dialer{Timeout: time.Second}
	return line{pod: pod, entry: entry, address: address, client: &http.Client{
		Timeout: time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
		},
	}}
}

// get asks for a path of a host and returns the answer's status and headers.
func (l line) get(ctx context.Context, host, path string, header http.Header) (int, http.Header, error) {
	u := url.URL{Scheme: "http", Host: host, Path: path}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("building a request: %w", err)
	}
	maps.Copy(request.Header, header)
	response, err := l.client.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s on %s: %w", host, l.pod, err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", l.pod, err)
	}
	return response.StatusCode, response.Header, nil
}

// status is that of the pod's answer for a host at the entry for callers outside.
func (d door) status(ctx context.Context, host string) (int, error) {
	status, _, err := d.external.get(ctx, host, "/", nil)
	return status, err
}

// generation is what a slot says that it enforces behind a line: the limiter's own
// way of proof, asked independently of it. The first question after a change is let
// through, so it is asked twice.
func (b *bench) generation(ctx context.Context, l line, slot int) (string, error) {
	header := http.Header{http.CanonicalHeaderKey(gateway.SlotHeader): {strconv.Itoa(slot)}}
	for range 2 {
		_, told, err := l.get(ctx, gateway.ProbeHost(ownGateway), gateway.ProbePath(b.token)+"/bench", header)
		if err != nil {
			return "", err
		}
		if generation := told.Get(gateway.GenerationHeader); generation != "" {
			return generation, nil
		}
	}
	return "", nil
}

// turn is when a line was first seen to enforce something else than before.
type turn struct {
	line
	// until is when it was last asked and enforced what was before, at when it was first
	// known not to. The turn itself is in between.
	until, at time.Time
	// generation that it enforces since.
	generation string
}

// generations asks every line for what a slot enforces now.
func (b *bench) generations(ctx context.Context, lines []line, slot int) (map[string]string, error) {
	now := make(map[string]string, len(lines))
	for _, l := range lines {
		generation, err := b.generation(ctx, l, slot)
		if err != nil {
			return nil, err
		}
		now[l.address] = generation
	}
	return now, nil
}

// turns waits until every line enforces something else than before, and returns
// when each did.
func (b *bench) turns(ctx context.Context, lines []line, slot int, before map[string]string) ([]turn, error) {
	ctx, cancel := context.WithTimeout(ctx, enforcedWithin)
	defer cancel()
	all := make([]turn, len(lines))
	asking, ctx := errgroup.WithContext(ctx)
	for i, l := range lines {
		asking.Go(func() (err error) {
			all[i], err = b.turn(ctx, l, slot, before[l.address])
			return err
		})
	}
	return all, asking.Wait()
}

// turn waits until one line enforces something else than before.
func (b *bench) turn(ctx context.Context, l line, slot int, before string) (turn, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	until := time.Now()
	for {
		asked := time.Now()
		generation, err := b.generation(ctx, l, slot)
		switch {
		case err == nil && generation == before:
			until = asked
		case err == nil && generation != "":
			return turn{line: l, until: until, at: time.Now(), generation: generation}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return turn{}, fmt.Errorf("waiting for a change on %s, %s: %w", l.pod, l.entry.Name, errors.Join(ctx.Err(), err))
		}
	}
}

// externals are the lines for callers outside, all those of both plain entries.
func (b *bench) externals() []line {
	lines := make([]line, 0, len(b.doors))
	for _, d := range b.doors {
		lines = append(lines, d.external)
	}
	return lines
}

func (b *bench) all() []line {
	lines := b.externals()
	for _, d := range b.doors {
		lines = append(lines, d.local)
	}
	return lines
}

// span tells of some turns until when none had come, and when the first and the last
// were known to have.
func span(turns []turn) (until, first, last time.Time) {
	until, first, last = turns[0].until, turns[0].at, turns[0].at
	for _, t := range turns[1:] {
		if t.until.Before(until) {
			until = t.until
		}
		if t.at.Before(first) {
			first = t.at
		}
		if t.at.After(last) {
			last = t.at
		}
	}
	return until, first, last
}

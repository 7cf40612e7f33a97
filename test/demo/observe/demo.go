package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/platform"
	teststores "sluice.dev/sluice/test/stores"
)

const (
	// visibleWithin bounds the wait for what was counted to be seen.
	visibleWithin = time.Minute
	// askEvery is how often is asked for what isn't right yet.
	askEvery = 500 * time.Millisecond
)

// demo is what the steps know of each other.
type demo struct {
	options
	*show.Page
	// run tells this run from others, trace and span the request whose trace is asked for.
	run, trace, span string
	body             []byte

	clients  *platform.Clients
	endpoint platform.Endpoint

	metrics, written *teststores.Metrics
	logs             *teststores.Logs
	traces           *teststores.Traces
	broker           string
	topics           *topics

	counted counted
	loaded  time.Time
	answers []answer
}

func (d *demo) model() string { return modelPrefix + d.run }

// find finds the stores, and has those brought up that aren't there.
func (d *demo) find(ctx context.Context) error {
	d.trace, d.span = hex.EncodeToString(random(16)), hex.EncodeToString(random(8))
	d.Printf("What is known of a Model: each store's answer beside what the load generator counted\n")
	for _, of := range []struct {
		store string
		find  func() error
	}{
		{prometheus, func() (err error) { d.metrics, err = teststores.FindPrometheus(ctx); return err }},
		{victoriaMetrics, func() (err error) { d.written, err = teststores.FindVictoriaMetrics(ctx); return err }},
		{victoriaLogs, func() (err error) { d.logs, err = teststores.FindVictoriaLogs(ctx); return err }},
		{jaeger, func() (err error) { d.traces, err = teststores.FindJaeger(ctx); return err }},
		{kafka, func() (err error) { d.broker, err = teststores.FindBroker(ctx); return err }},
	} {
		if err := of.find(); err != nil {
			return err
		}
		d.Printf("  %-16s %s\n", of.store, d.at(of.store))
	}
	return nil
}

func random(bytes int) []byte {
	id := make([]byte, bytes)
	_, _ = rand.Read(id) // it never fails
	return id
}

// at is where a store is.
func (d *demo) at(store string) string {
	switch store {
	case prometheus:
		return d.metrics.URL
	case victoriaMetrics:
		return d.written.URL
	case victoriaLogs:
		return d.logs.URL
	case jaeger:
		return d.traces.URL
	default:
		return d.broker
	}
}

// ask asks the stores until all answers are right, or it has taken too long.
func (d *demo) ask(ctx context.Context) error {
	d.Title(fmt.Sprintf("Asking, until it is seen, %v at most", visibleWithin))
	a := asked{namespace: d.namespace, model: d.model(), run: d.run, trace: d.trace, counted: d.counted}
	for _, q := range a.questions() {
		if slices.Contains(d.of, q.store) {
			d.answers = append(d.answers, answer{question: q})
		}
	}
	waiting, cancel := context.WithTimeout(ctx, visibleWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		left := 0
		for i := range d.answers {
			if of := &d.answers[i]; !of.right {
				d.once(waiting, of)
			}
			if !d.answers[i].right {
				left++
			}
		}
		if left == 0 {
			d.Sayf("all of %d are right", len(d.answers))
			return ctx.Err()
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			d.Sayf("%d of %d are not right", left, len(d.answers))
			return ctx.Err()
		}
	}
}

// once asks a question once. An answer that comes too late leaves the one before.
func (d *demo) once(ctx context.Context, of *answer) {
	value, there, says, err := d.put(ctx, of.question)
	if ctx.Err() != nil {
		return
	}
	of.value, of.there, of.says, of.err = value, there, says, err
	if of.right = err == nil && there && of.met(value); of.right {
		of.after = time.Since(d.loaded)
	}
}

// put puts a question to its store.
func (d *demo) put(ctx context.Context, q question) (value float64, there bool, says string, err error) {
	switch q.store {
	case prometheus:
		value, there, err = d.metrics.Number(ctx, q.query)
	case victoriaMetrics:
		value, there, err = d.written.Number(ctx, q.query)
	case victoriaLogs:
		value, there, err = countLines(ctx, d.logs, q.query)
	case kafka:
		value, there, err = d.topics.counted(q.query)
	case jaeger:
		var spans []teststores.Span
		spans, err = d.traces.Trace(ctx, d.trace)
		value, there, says = float64(len(spans)), len(spans) > 0, describe(spans)
	}
	return value, there, says, err
}

var errNoCount = errors.New("the answer isn't one row with n")

func countLines(ctx context.Context, logs *teststores.Logs, query string) (float64, bool, error) {
	rows, err := logs.Query(ctx, query, 2)
	if err != nil {
		return 0, false, err
	}
	if len(rows) != 1 {
		return 0, false, fmt.Errorf("%w: %d rows", errNoCount, len(rows))
	}
	value, err := strconv.ParseFloat(rows[0]["n"], 64)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %v", errNoCount, rows[0])
	}
	return value, true, nil
}

// describe is a trace in a line for each of its spans, those within others to the right.
func describe(spans []teststores.Span) string {
	depth := map[string]int{}
	var lines []string
	for _, s := range spans {
		if above, known := depth[s.Parent]; known {
			depth[s.ID] = above + 1
		} else {
			depth[s.ID] = 0
		}
		lines = append(lines, fmt.Sprintf("%s%s: %s, %s", strings.Repeat("  ", depth[s.ID]), s.Service, s.Operation, show.Milliseconds(s.Lasted)))
	}
	return strings.Join(lines, "\n")
}

// close ends what runs beside.
func (d *demo) close() {
	if d.topics != nil {
		d.topics.close()
	}
}

// explained adds what the cluster says of itself to an error.
func (d *demo) explained(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, errors.New("\n"+d.clients.Explain(ctx, d.namespace)))
}

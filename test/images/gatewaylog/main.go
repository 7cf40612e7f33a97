// Command gatewaylog writes a gateway's access log as many Models' gateways would: LINES
// lines a second, for SECONDS seconds, of MODELS Models with REVISIONS revisions each, in turn.
// `make bench-observability` deploys it, since no machine of a test's serves as many Models;
// docs/gateway-log.schema.json says what a line has. Then it waits until it is ended.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// steps are how many times a second lines are written.
const steps = 10

// line is what a gateway logs of a request. Nothing here may import Sluice itself.
type line struct {
	Time          string  `json:"time"`
	Gateway       string  `json:"gateway"`
	Pod           string  `json:"pod"`
	Route         string  `json:"route"`
	Cluster       string  `json:"cluster"`
	Entry         string  `json:"entry"`
	Limit         string  `json:"limit"`
	Code          int     `json:"code"`
	Flags         string  `json:"flags"`
	Details       string  `json:"details"`
	Method        string  `json:"method"`
	Path          string  `json:"path"`
	Protocol      string  `json:"protocol"`
	UserAgent     string  `json:"user_agent"`
	DurationMS    float64 `json:"duration_ms"`
	UpstreamMS    float64 `json:"upstream_ms"`
	FirstByteMS   float64 `json:"first_byte_ms"`
	BytesReceived int     `json:"bytes_received"`
	BytesSent     int     `json:"bytes_sent"`
	RequestID     string  `json:"request_id"`
	TraceID       string  `json:"trace_id"`
	Upstream      string  `json:"upstream"`
	Batch         bool    `json:"batch"`
	Sample        float64 `json:"sample"`
}

// plan is what is to be written.
type plan struct{ lines, seconds, models, revisions int }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	p, err := read(os.Getenv)
	if err == nil {
		err = p.write(ctx, os.Stdout)
	}
	if err != nil && ctx.Err() == nil {
		slog.Error("gatewaylog failed", "error", err)
		os.Exit(1)
	}
	<-ctx.Done()
	stop()
}

func read(env func(string) string) (plan, error) {
	var p plan
	var errs []error
	for name, into := range map[string]*int{"LINES": &p.lines, "SECONDS": &p.seconds, "MODELS": &p.models, "REVISIONS": &p.revisions} {
		n, err := strconv.Atoi(env(name))
		if err != nil || n < 1 || n > 1_000_000 {
			errs = append(errs, fmt.Errorf("%s is %q, must be a whole number from 1 to 1000000", name, env(name)))
		}
		*into = n
	}
	return p, errors.Join(errs...)
}

// write writes all lines, those of a tenth of a second at a time.
func (p plan) write(ctx context.Context, to io.Writer) error {
	out := bufio.NewWriterSize(to, 1<<16)
	encoder := json.NewEncoder(out)
	tick := time.NewTicker(time.Second / steps)
	defer tick.Stop()
	for written, step := 0, 1; step <= p.seconds*steps; step++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for ; written < p.lines*step/steps; written++ {
			if err := encoder.Encode(p.line(written, time.Now())); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

// line is the nth: each revision in turn, and of each one in ten refused, one in fifty failed.
func (p plan) line(n int, at time.Time) line {
	replica, round := n%(p.models*p.revisions), n/(p.models*p.revisions)
	model, revision := replica/p.revisions, replica%p.revisions+1
	namespace, name := fmt.Sprintf("many-%d", model%100), fmt.Sprintf("model-%d", model)
	l := line{
		Time: at.UTC().Format("2006-01-02T15:04:05.000Z"), Gateway: "shared", Pod: "many",
		Route:   fmt.Sprintf("tenant-%d/%s/%s", model%20, namespace, name),
		Cluster: fmt.Sprintf("outbound|80||%s-%05d.%s.svc.cluster.local", name, revision, namespace),
		Entry:   "http", Limit: "admitted", Code: 200, Flags: "-", Details: "via_upstream",
		Method: "POST", Path: fmt.Sprintf("/v2/models/m/infer/%d", n), Protocol: "HTTP/1.1", UserAgent: "gatewaylog",
		DurationMS: float64(n % 100), UpstreamMS: 1, FirstByteMS: float64(n % 100), BytesReceived: 200, BytesSent: 400,
		RequestID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Upstream: "10.0.0.1:8012", Sample: 1,
	}
	switch {
	case round%10 == 9:
		l.Limit, l.Code, l.Flags, l.Details, l.Upstream = "refused", 429, "RL", "local_rate_limited", ""
	case round%50 == 25:
		l.Code = 500
	}
	return l
}

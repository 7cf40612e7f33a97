//go:build e2e

package stores

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	tracescollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// seenWithin bounds the wait for what was put into a store, or is scraped.
const seenWithin = 40 * time.Second

// The file that users are given is taken by Prometheus' own checker.
func TestScrapeConfigIsTaken(t *testing.T) {
	if _, err := FindPrometheus(t.Context()); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), os.Getenv("SLUICE_PROMTOOL"), "check", "config", "--syntax-only",
		"../../config/observability/prometheus/scrape.yaml").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// Of each job that always has somebody to ask, all answer; Sluice's own are told apart.
func TestPrometheusScrapesSluice(t *testing.T) {
	prometheus, err := FindPrometheus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range []string{"sluice", "sluice-gateways", "sluice-containers"} {
		await(t, "every target of job "+job, func(ctx context.Context) (string, error) {
			up, err := prometheus.Query(ctx, fmt.Sprintf("up{job=%q}", job))
			away := 0
			for _, of := range up {
				if of.Value != 1 {
					away++
				}
			}
			return fmt.Sprintf("of %d targets %d are away", len(up), away), orUnless(len(up) > 0 && away == 0, err)
		})
	}
	for _, query := range []string{
		`up{job="sluice",component="controller",pod=~"controller-.+"}`, `up{job="sluice",component="limiter"}`, `up{job="sluice",component="webhook"}`,
		`up{job="sluice-gateways",gateway="shared",pod=~"shared-.+"}`,
		`sluice_limit_pass_errors_total{job="sluice",component="limiter"}`,
	} {
		await(t, query, func(ctx context.Context) (string, error) {
			found, err := prometheus.Query(ctx, query)
			return "there is none", orUnless(len(found) > 0, err)
		})
	}
}

// What is written to either comes back with its value.
func TestRemoteWriteIsTaken(t *testing.T) {
	for _, tt := range []struct {
		find func(context.Context) (*Metrics, error)
		path string
	}{{FindPrometheus, "/api/v1/write"}, {FindVictoriaMetrics, "/api/v1/write"}} {
		store, err := tt.find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run := strings.ToLower(rand.Text())
		put(t, store.URL+tt.path, s2.EncodeSnappy(nil, writeRequest(map[string]string{"__name__": "sluice_test_written_total", "run": run}, 42)),
			map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"})
		awaitNumber(t, store, fmt.Sprintf("sluice_test_written_total{run=%q}", run), 42)
	}
}

// Prometheus takes metrics by OTLP.
func TestPrometheusTakesOTLP(t *testing.T) {
	prometheus, err := FindPrometheus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := strings.ToLower(rand.Text())
	body, err := proto.Marshal(&metrics.MetricsData{ResourceMetrics: []*metrics.ResourceMetrics{{
		ScopeMetrics: []*metrics.ScopeMetrics{{Metrics: []*metrics.Metric{{
			Name: "sluice.test.taken",
			Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{{
				TimeUnixNano: uint64(time.Now().UnixNano()), Value: &metrics.NumberDataPoint_AsInt{AsInt: 7}, Attributes: attributes("run", run),
			}}}},
		}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, prometheus.URL+"/api/v1/otlp/v1/metrics", body, map[string]string{"Content-Type": "application/x-protobuf"})
	awaitNumber(t, prometheus, fmt.Sprintf("sluice_test_taken{run=%q}", run), 7)
}

// VictoriaLogs takes logs by OTLP, and counts them by their fields.
func TestVictoriaLogsTakesOTLP(t *testing.T) {
	store, err := FindVictoriaLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := strings.ToLower(rand.Text())
	records := make([]*logs.LogRecord, 0, 10)
	for i := range 10 {
		code := "200"
		if i%5 == 0 {
			code = "429"
		}
		records = append(records, &logs.LogRecord{
			TimeUnixNano: uint64(time.Now().UnixNano()), Body: text("a request with <b>markup</b>\nand a second line"), Attributes: attributes("run", run, "code", code),
		})
	}
	body, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: attributes("k8s.namespace.name", "stores-test")}, ScopeLogs: []*logs.ScopeLogs{{LogRecords: records}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store.Endpoint(), body, map[string]string{"Content-Type": "application/x-protobuf", "VL-Stream-Fields": "k8s.namespace.name"})
	query := fmt.Sprintf(`_time:5m {"k8s.namespace.name"="stores-test"} run:=%q | stats by (code) count() n`, run)
	await(t, query, func(ctx context.Context) (string, error) {
		rows, err := store.Query(ctx, query, 10)
		counted := map[string]string{}
		for _, row := range rows {
			counted[row["code"]] = row["n"]
		}
		return fmt.Sprintf("counted are %v", counted), orUnless(len(counted) == 2 && counted["200"] == "8" && counted["429"] == "2", err)
	})
}

// Jaeger takes a trace by OTLP, and has its spans, with who is whose part.
func TestJaegerTakesOTLP(t *testing.T) {
	store, err := FindJaeger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient(store.OTLP, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	trace, first, second := random(t, 16), random(t, 8), random(t, 8)
	if spans, err := store.Trace(t.Context(), hex.EncodeToString(trace)); err != nil || len(spans) > 0 {
		t.Fatalf("before it is there it has %v, %v", spans, err)
	}
	now := time.Now()
	span := func(id, parent []byte, name string, after time.Duration) *traces.Span {
		return &traces.Span{
			TraceId: trace, SpanId: id, ParentSpanId: parent, Name: name, Kind: traces.Span_SPAN_KIND_SERVER,
			StartTimeUnixNano: uint64(now.Add(after).UnixNano()), EndTimeUnixNano: uint64(now.Add(after + time.Millisecond).UnixNano()),
			Attributes: attributes("sluice.model", "ranker"),
		}
	}
	_, err = tracescollector.NewTraceServiceClient(connection).Export(t.Context(), &tracescollector.ExportTraceServiceRequest{ResourceSpans: []*traces.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: attributes("service.name", "stores-test")},
		ScopeSpans: []*traces.ScopeSpans{{Spans: []*traces.Span{span(second, first, "inner", time.Millisecond), span(first, nil, "outer", 0)}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the trace", func(ctx context.Context) (string, error) {
		spans, err := store.Trace(ctx, hex.EncodeToString(trace))
		right := len(spans) == 2 && spans[0].Operation == "outer" && spans[1].Parent == spans[0].ID &&
			spans[0].Service == "stores-test" && spans[1].Tags["sluice.model"] == "ranker" && spans[0].Lasted == time.Millisecond
		return fmt.Sprintf("it has %+v", spans), orUnless(right, err)
	})
}

// errMissing is the error of what isn't there yet.
var errMissing = fmt.Errorf("it isn't there yet")

// orUnless is an error, or that something is missing unless it is met.
func orUnless(met bool, err error) error {
	if err == nil && !met {
		return errMissing
	}
	return err
}

// await asks until there is no error. What is said of the last answer is told if there is none.
func await(t *testing.T, what string, ask func(context.Context) (says string, err error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), seenWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		says, err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v: %s", what, err, says)
		}
	}
}

func awaitNumber(t *testing.T, store *Metrics, query string, want float64) {
	t.Helper()
	await(t, query, func(ctx context.Context) (string, error) {
		value, there, err := store.Number(ctx, query)
		return fmt.Sprintf("it is %g, there: %t", value, there), orUnless(there && value == want, err)
	})
}

// put posts a body, and wants it taken.
func put(t *testing.T, to string, body []byte, header map[string]string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, _ := io.ReadAll(answer.Body); answer.StatusCode/100 != 2 {
		t.Fatalf("%s answers %s: %s", to, answer.Status, said)
	}
}

// writeRequest is a request of Prometheus' remote write 1.0 with one sample, of now.
// https://prometheus.io/docs/specs/prw/remote_write_spec/#protocol
func writeRequest(labels map[string]string, value float64) []byte {
	message := func(to []byte, field protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), content)
	}
	var series []byte
	for _, name := range []string{"__name__", "run"} { // in their order, as it wants them
		series = message(series, 1, message(message(nil, 1, []byte(name)), 2, []byte(labels[name])))
	}
	sample := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(value))
	sample = protowire.AppendVarint(protowire.AppendTag(sample, 2, protowire.VarintType), uint64(time.Now().UnixMilli()))
	return message(nil, 1, message(series, 2, sample))
}

func attributes(pairs ...string) []*common.KeyValue {
	var all []*common.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &common.KeyValue{Key: pairs[i], Value: text(pairs[i+1])})
	}
	return all
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

func random(t *testing.T, bytes int) []byte {
	t.Helper()
	id := make([]byte, bytes)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	return id
}

package main

import (
	"os"
	"strings"
	"testing"
)

// collectors are an agent that reads a pod's log, and the gateway collector that it sends to.
func collectors(t *testing.T) (*podLogs, *collector, *collector) {
	t.Helper()
	logs := newPodLogs(t)
	gateway := newCollectorOf(t, "gateway")
	agent := newCollectorOf(t, "agent", "POD_LOGS="+logs.dir, "GATEWAY="+gateway.address("AGENTS_PORT"),
		"GATEWAY_TRACES="+gateway.address("OTLP_GRPC_PORT"))
	return logs, agent, gateway
}

// untilCounted waits until the platform has as many requests as are wanted, and demands that it has no more.
func untilCounted(gateway *collector, want float64) map[string]float64 {
	gateway.t.Helper()
	var got map[string]float64
	defer func() { gateway.t.Logf("%v requests are counted", sum(got, "sluice_platform_requests_total")) }()
	gateway.until("the requests are counted", func() bool {
		got = gateway.requests()
		return sum(got, "sluice_platform_requests_total") >= want
	})
	if n := sum(got, "sluice_platform_requests_total"); n != want {
		gateway.t.Fatalf("%v requests are counted, want %v", n, want)
	}
	return got
}

func TestRequestsOfRealLines(t *testing.T) {
	logs, agent, gateway := collectors(t)
	text, err := os.ReadFile("testdata/gateway.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	real := strings.Split(strings.TrimSpace(string(text)), "\n")
	gateway.start()
	agent.start()
	logs.write(real...)
	logs.write(
		line(t, nil),
		line(t, map[string]any{"code": 503, "duration_ms": 400, "cluster": "outbound|80||ranker-00002.ads.svc.cluster.local"}),
		line(t, map[string]any{"code": 429, "limit": "refused", "duration_ms": 0}),
		line(t, map[string]any{"code": 301, "limit": "none", "cluster": nil, "route": "acme/ads/ranker/redirect"}),
		line(t, map[string]any{"code": 0, "route": "acme/search/other", "duration_ms": nil}),
		// One line in ten is logged of these.
		line(t, map[string]any{"route": "other/web/page", "sample": 0.1, "duration_ms": 30}),
	)
	got := untilCounted(gateway, float64(len(real))+15)
	for _, c := range []struct {
		want float64
		name string
		with []string
	}{
		{4, "sluice_revision_requests_total", []string{`tenant="-"`, `revision="ranker-034833-00001"`, `code_class="4xx"`, `limit="refused"`}},
		{5, "sluice_tenant_requests_total", []string{`tenant="acme"`}},
		{4, "sluice_namespace_requests_total", []string{`tenant="acme"`, `namespace="ads"`}},
		{1, "sluice_model_requests_total", []string{`model="ranker"`, `code_class="4xx"`, `limit="refused"`}},
		{1, "sluice_model_requests_total", []string{`model="other"`, `code_class="none"`, `limit="admitted"`}},
		{1, "sluice_revision_requests_total", []string{`revision="ranker-00002"`, `code_class="5xx"`}},
		{1, "sluice_revision_requests_total", []string{`revision="-"`, `code_class="3xx"`}},
		{4, "sluice_revision_requests_total", []string{`model="ranker"`}},
		{10, "sluice_model_requests_total", []string{`model="page"`}},
		{10, "sluice_model_request_duration_seconds_bucket", []string{`model="page"`, `le="0.05"`}},
		{-1, "sluice_model_request_duration_seconds_bucket", []string{`model="other"`}},
		{1, "sluice_model_request_duration_seconds_bucket", []string{`model="ranker"`, `le="0.25"`}},
		{2, "sluice_model_request_duration_seconds_bucket", []string{`model="ranker"`, `le="0.5"`}},
		{0.42, "sluice_model_request_duration_seconds_sum", []string{`model="ranker"`}},
		{400, "sluice_model_received_bytes_total", []string{`model="ranker"`}},
		{10000, "sluice_tenant_sent_bytes_total", []string{`tenant="other"`}},
	} {
		if n := sum(got, c.name, c.with...); n < c.want-1e-9 || n > c.want+1e-9 {
			t.Errorf("%s%v is %v, want %v", c.name, c.with, n, c.want)
		}
	}
}

// Whatever else is in a gateway's log neither counts nor keeps a line from counting.
func TestHostileLines(t *testing.T) {
	logs, agent, gateway := collectors(t)
	gateway.start()
	agent.start()
	good := line(t, nil)
	for _, hostile := range []string{
		"2026-12-01T03:20:57.039157Z\tinfo\tEnvoy proxy is ready",
		good[:len(good)/2],
		good[:len(good)/2] + good,
		"{}", "[]", "null", `{"code": 200}`, `"` + good, "{" + strings.Repeat(`{"a":`, 2000),
		strings.Repeat("x", 1<<20),
		`{"path": "` + strings.Repeat("y", 1<<20) + `"}`,
		line(t, map[string]any{"code": "200"}),
		line(t, map[string]any{"sample": "1"}),
		strings.Replace(good, "/v1/rank", "/\xff\xfe\x00\xc3\x28", 1)[:200],
	} {
		logs.write(hostile, good)
	}
	// No line of containerd's at all, and one that isn't written to its end yet.
	logs.raw("\x00\xff\xfe\n\n" + good + "\n2026-12-01T04:05:48.851000000Z stdout F " + good[:100])
	logs.raw(good[100:] + "\n")
	// Markup, quotes and ends of lines in what callers send are JSON's to write; not all of it is UTF-8.
	logs.write(
		line(t, map[string]any{"path": "/<b>\n\"\\", "user_agent": "a\r\n\tb\u0000"}),
		strings.Replace(good, "/v1/rank", "/\xff\xfe", 1),
		line(t, map[string]any{"time": "9999-99-99", "sample": -5, "limit": "x"}),
		line(t, map[string]any{"code": 1e9, "duration_ms": -3}),
	)
	got := untilCounted(gateway, 14+1+1+4)
	for key := range got {
		if strings.Contains(key, `limit="x"`) || strings.Contains(key, `code_class="1`) {
			t.Errorf("a line that is no gateway's made a series: %s", key)
		}
	}
}

// A tenant who sends ever other paths makes no series.
func TestPathsMakeNoSeries(t *testing.T) {
	logs, agent, gateway := collectors(t)
	// To count is enough.
	agent.value("lines", "off")
	gateway.start()
	agent.start()
	logs.write(line(t, nil))
	before := len(untilCounted(gateway, 1))
	logs.write(lines(t, 100_000)...)
	// Another pod of the gateway makes none either.
	another := logs.another()
	another.write(line(t, nil))
	if after := len(untilCounted(gateway, 100_002)); after != before {
		t.Errorf("there are %d series, and were %d before 100,000 paths", after, before)
	}
	if n := sum(gateway.scrape("OWN_METRICS_PORT"), "otelcol_deltatocumulative_datapoints", "error"); n > 0 {
		t.Errorf("%v increments were lost", n)
	}
}

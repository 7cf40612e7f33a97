package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// podLogs is a node's folder with the log of one gateway pod.
type podLogs struct {
	t    *testing.T
	dir  string
	file *os.File
}

func newPodLogs(t *testing.T) *podLogs {
	t.Helper()
	return podLogsOf(t, t.TempDir(), "sluice-gateways_shared-7c9f76c94f-g9t99_6ecd9c3d-56d9-465a-b382-c408557fcbaf")
}

// another is the log of one more pod.
func (p *podLogs) another() *podLogs {
	return podLogsOf(p.t, p.dir, "sluice-gateways_shared-7c9f76c94f-x2x2x_7ecd9c3d-56d9-465a-b382-c408557fcbaf")
}

func podLogsOf(t *testing.T, dir, pod string) *podLogs {
	t.Helper()
	folder := filepath.Join(dir, pod, "istio-proxy")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(folder, "0.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &podLogs{t: t, dir: dir, file: file}
}

// write adds lines as containerd does, which cuts those that are longer than 16 KiB.
func (p *podLogs) write(lines ...string) {
	p.t.Helper()
	var text strings.Builder
	for _, line := range lines {
		for len(line) > 16384 {
			text.WriteString("2026-12-01T04:05:48.851000000Z stdout P " + line[:16384] + "\n")
			line = line[16384:]
		}
		text.WriteString("2026-12-01T04:05:48.851000000Z stdout F " + line + "\n")
	}
	p.raw(text.String())
}

func (p *podLogs) raw(text string) {
	p.t.Helper()
	if _, err := p.file.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// line is one that a gateway writes, with some fields changed.
func line(t *testing.T, change map[string]any) string {
	t.Helper()
	fields := map[string]any{
		"time": "2026-12-01T04:05:48.851Z", "gateway": "shared", "pod": "shared-7c9f76c94f-g9t99", "entry": "http",
		"route": "acme/ads/ranker", "cluster": "outbound|80||ranker-00001.ads.svc.cluster.local", "upstream": "10.244.2.9:8012",
		"limit": "admitted", "code": 200, "flags": "-", "details": "via_upstream", "method": "GET", "path": "/v1/rank",
		"protocol": "HTTP/1.1", "user_agent": "curl", "request_id": "a1304adc-5f10-46d7-adf9-22b17d4fb3cb", "traceparent": nil,
		"batch": false, "duration_ms": 20, "upstream_ms": 0, "first_byte_ms": 19, "bytes_received": 100, "bytes_sent": 1000, "sample": 1,
	}
	for key, value := range change {
		fields[key] = value
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines are n that are one like the other but for their paths, callers and ids.
func lines(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = line(t, map[string]any{
			"path": fmt.Sprintf("/%d", i), "user_agent": fmt.Sprintf("caller %d", i), "request_id": fmt.Sprintf("%036d", i),
		})
	}
	return all
}

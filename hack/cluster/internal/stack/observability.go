package stack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// Where pods and this machine reach the stores of metrics, logs and traces.
const (
	prometheusAddress      = layout.BridgeAddress + ":9490"
	victoriaLogsAddress    = layout.BridgeAddress + ":9428"
	victoriaMetricsAddress = layout.BridgeAddress + ":8428"
	jaegerAddress          = layout.BridgeAddress + ":16686"
	jaegerOTLPAddress      = layout.BridgeAddress + ":14317"
	jaegerGRPCAddress      = local + ":16685" // it has one whether or not anybody asks

	// mostTraces are kept by Jaeger, in memory: a few hundred MB of them at most.
	mostTraces = 10000
)

// observability are the stores of metrics, logs and traces. Each keeps a day at most, and less
// where that would take more disk or memory than a small machine has beside the stack.
func (s *Stack) observability() []store {
	return []store{s.prometheus(), s.victoriaLogs(), s.victoriaMetrics(), s.jaeger()}
}

// prometheus scrapes the stack, as config/observability/prometheus in the checkout has it,
// and takes what is written to it.
func (s *Stack) prometheus() store {
	config := s.layout.Config("prometheus/prometheus.yaml")
	return store{
		component: component{
			// It reads who is there from the API server, if there is one.
			name: "prometheus", needs: []string{"machine", "certificates", build(promtool)}, binary: &prometheus,
			args: []string{
				"--config.file=" + config, "--web.listen-address=" + prometheusAddress, "--storage.tsdb.path=" + s.layout.Store("prometheus"),
				"--storage.tsdb.retention.time=1d", "--storage.tsdb.retention.size=2GB",
				"--web.enable-remote-write-receiver", "--web.enable-otlp-receiver",
				"--query.max-samples=5000000", "--log.level=warn",
			},
			env: []string{"GOMEMLIMIT=512MiB"},
			prepare: func(ctx context.Context) error {
				if err := s.checkPrometheusFiles(ctx); err != nil {
					return err
				}
				return s.writePrometheusConfig(config)
			},
			writes:  append([]string{config}, s.ruleCopies()...),
			listens: []string{prometheusAddress},
			ready:   s.says("http://"+prometheusAddress+"/api/v1/query?query=vector(1)", `"status":"success"`),
		},
		// For who writes rules, and for tests of these.
		tools: []toolset.Binary{promtool},
	}
}

// victoriaLogs takes logs by OTLP, and has a page to search them.
func (s *Stack) victoriaLogs() store {
	return store{component: component{
		name: "victorialogs", needs: []string{"machine"}, binary: &victoriaLogs,
		args: []string{
			"-httpListenAddr=" + victoriaLogsAddress, "-storageDataPath=" + s.layout.Store("victorialogs"),
			"-retentionPeriod=1d", "-retention.maxDiskSpaceUsageBytes=2GiB", "-memory.allowedBytes=128MiB", "-loggerLevel=WARN",
		},
		prepare: s.makingStore("victorialogs"),
		listens: []string{victoriaLogsAddress},
		ready:   s.says("http://"+victoriaLogsAddress+"/select/logsql/query?query=*&limit=1", ""),
	}}
}

// victoriaMetrics takes what is written to it, and has a page to draw that, which the
// Prometheus that is built here lacks.
func (s *Stack) victoriaMetrics() store {
	return store{component: component{
		name: "victoriametrics", needs: []string{"machine"}, binary: &victoriaMetrics,
		args: []string{
			"-httpListenAddr=" + victoriaMetricsAddress, "-storageDataPath=" + s.layout.Store("victoriametrics"),
			// The newest half minute would be left out otherwise.
			"-search.latencyOffset=1s",
			"-retentionPeriod=1d", "-storage.maxDailySeries=500000", "-memory.allowedBytes=128MiB", "-loggerLevel=WARN",
		},
		prepare: s.makingStore("victoriametrics"),
		listens: []string{victoriaMetricsAddress},
		ready:   s.says("http://"+victoriaMetricsAddress+"/api/v1/query?query=1", `"status":"success"`),
	}}
}

// jaeger takes traces by OTLP.
func (s *Stack) jaeger() store {
	config := s.layout.Config("jaeger.yaml")
	answers := s.says("http://"+jaegerAddress+"/api/services", `"errors":null`)
	return store{component: component{
		name: "jaeger", needs: []string{"machine"}, binary: &jaeger,
		args:    []string{"--config=" + config},
		env:     []string{"GOMEMLIMIT=512MiB"},
		configs: map[string]string{config: "jaeger.yaml"},
		listens: []string{jaegerAddress, jaegerOTLPAddress, jaegerGRPCAddress},
		ready: func(ctx context.Context) error {
			if err := accepts(ctx, jaegerOTLPAddress); err != nil {
				return err
			}
			return answers(ctx)
		},
	}}
}

func (s *Stack) makingStore(name string) func(context.Context) error {
	return func(context.Context) error { return os.MkdirAll(s.layout.Store(name), 0o755) }
}

// mostSaid bounds what is read of an answer.
const mostSaid = 64 << 10

// says checks that a URL answers 200, and with what: a server may listen long before it has
// opened what it keeps.
func (s *Stack) says(url, what string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := s.probe().Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		said, err := io.ReadAll(io.LimitReader(answer.Body, mostSaid))
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s: %.200s", url, answer.Status, said)
		}
		if !strings.Contains(string(said), what) {
			return fmt.Errorf("%s answers %.200s, without %s", url, said, what)
		}
		return nil
	}
}

// accepts checks that somebody listens.
func accepts(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// observabilityEnv is how tests, and people, find the stores.
func (s *Stack) observabilityEnv() map[string]string {
	return map[string]string{
		"SLUICE_PROMETHEUS":      "http://" + prometheusAddress,
		"SLUICE_PROMTOOL":        s.path(promtool),
		"SLUICE_VICTORIALOGS":    "http://" + victoriaLogsAddress,
		"SLUICE_VICTORIAMETRICS": "http://" + victoriaMetricsAddress,
		"SLUICE_JAEGER":          "http://" + jaegerAddress,
		"SLUICE_JAEGER_OTLP":     jaegerOTLPAddress,
	}
}

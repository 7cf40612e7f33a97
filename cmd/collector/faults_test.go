package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// An agent that is killed while it reads loses nothing: what it had read and not noted is read again, and counted twice.
func TestKilledAgentLosesNothing(t *testing.T) {
	logs, agent, gateway := collectors(t)
	gateway.start()
	agent.start()
	const n = 20_000
	go func() {
		for range n / 100 {
			logs.write(lines(t, 100)...)
		}
	}()
	gateway.until("some are counted", func() bool { return sum(gateway.requests(), "sluice_platform_requests_total") > 0 })
	agent.kill()
	agent.start()
	var got float64
	gateway.until("all are counted", func() bool {
		got = sum(gateway.requests(), "sluice_platform_requests_total")
		return got >= n
	})
	t.Logf("%v of %v counted", got, n)
}

func TestRefusedConfigurationLeavesTheLastGoodOne(t *testing.T) {
	logs, agent, gateway := collectors(t)
	gateway.start()
	agent.start()
	logs.write(line(t, nil))
	untilCounted(gateway, 1)
	gateway.until("it is kept", func() bool {
		_, err := os.Stat(filepath.Join(gateway.dir, "good.json"))
		return err == nil
	})
	gateway.configure(strings.Replace(gateway.configured, "max_streams: 200000", "max_streams: -1", 1))
	gateway.until("it is refused", func() bool { return gateway.own("sluice_collector_configuration_refused") == 1 })
	logs.write(line(t, nil))
	untilCounted(gateway, 2)
	// One that starts with it, too.
	gateway.kill()
	gateway.begin()
	gateway.until("it is up, and refused", func() bool { return gateway.own("sluice_collector_configuration_refused") == 1 })
	logs.write(line(t, nil))
	untilCounted(gateway, 1)
	gateway.configure(strings.Replace(gateway.configured, "metric_expiration: 1h", "metric_expiration: 2h", 1))
	gateway.until("a good one is taken up", func() bool { return gateway.own("sluice_collector_configuration_refused") == 0 })
}

// store is a log store that takes OTLP, and can be away.
type store struct {
	mu    sync.Mutex
	away  bool
	taken map[string]int
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	request := plogotlp.NewExportRequest()
	if s.away || err != nil || request.UnmarshalProto(body) != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, resource := range request.Logs().ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				id, _ := record.Attributes().Get("request_id")
				s.taken[id.Str()]++
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *store) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

// A store that is away keeps nobody from counting, and gets all lines once it is back, also where its buffers were
// full meanwhile: then lines wait in the files that they are in.
func TestStoreAway(t *testing.T) {
	for name, buffer := range map[string]string{"within its buffer": "268435456", "past its buffers": "1200000"} {
		t.Run(name, func(t *testing.T) {
			sink := &store{away: true, taken: map[string]int{}}
			server := httptest.NewServer(sink)
			t.Cleanup(server.Close)
			logs, agent, gateway := collectors(t)
			gateway.value("log-store-endpoint", server.URL)
			gateway.value("gateway-buffer-bytes", buffer)
			agent.value("buffer-bytes", buffer)
			gateway.start()
			agent.start()
			const n = 8000
			logs.write(lines(t, n)...)
			untilCounted(gateway, n)
			if got := sink.count(); got != 0 {
				t.Fatalf("a store that is away took %d lines", got)
			}
			sink.set(false)
			gateway.until("the store has all lines", func() bool { return sink.count() == n })
			for key, name := range map[string]string{"send": "otelcol_exporter_send_failed_log_records", "enqueue": "otelcol_exporter_enqueue_failed_log_records"} {
				if lost := gateway.own(name); lost > 0 {
					t.Errorf("%s: %v lines were lost", key, lost)
				}
			}
		})
	}
}

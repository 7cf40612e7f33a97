package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// asCollector has the test's own program be the collector: so it can be killed.
const asCollector = "SLUICE_COLLECTOR"

func TestMain(m *testing.M) {
	if os.Getenv(asCollector) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// collector is a process that runs one of the configurations that are installed.
type collector struct {
	t          *testing.T
	dir        string
	env        []string
	ports      map[string]int
	process    *exec.Cmd
	configured string
}

// newCollector prepares one of config/observability's, with a folder of its own for its state and its values.
func newCollectorOf(t *testing.T, kind string, env ...string) *collector {
	t.Helper()
	c := &collector{t: t, dir: t.TempDir(), ports: map[string]int{}}
	text, err := os.ReadFile("../../config/observability/400-collector-" + kind + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var installed struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &installed); err != nil {
		t.Fatal(err)
	}
	c.configured = installed.Data["collector.yaml"]
	c.configure(c.configured)
	if err := os.Mkdir(filepath.Join(c.dir, "values"), 0o750); err != nil {
		t.Fatal(err)
	}
	// Whose a pod is, only a cluster knows.
	c.value("pod-logs", "off")
	c.env = append(append(os.Environ(), asCollector+"=1", "LISTEN=127.0.0.1", "NODE_NAME=node", "STATE="+c.dir), env...)
	for _, name := range []string{"HEALTH_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "AGENTS_PORT", "METRICS_PORT", "OWN_METRICS_PORT"} {
		c.ports[name] = freePort(t)
		c.env = append(c.env, fmt.Sprintf("%s=%d", name, c.ports[name]))
	}
	t.Cleanup(c.kill)
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *collector) address(port string) string { return "127.0.0.1:" + strconv.Itoa(c.ports[port]) }

// configure replaces the configuration as Kubernetes does, at once.
func (c *collector) configure(text string) { c.replace("collector.yaml", text) }

func (c *collector) value(name, value string) { c.replace(filepath.Join("values", name), value) }

func (c *collector) replace(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(filepath.Join(c.dir, "new"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(c.dir, "new"), path); err != nil {
		c.t.Fatal(err)
	}
}

// start runs it, and waits until it is up.
func (c *collector) start() {
	c.t.Helper()
	c.begin()
	c.until("it is up", func() bool { return c.own("sluice_collector_configuration_refused") >= 0 })
}

func (c *collector) begin() {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.process = exec.Command(os.Args[0], "-configuration", filepath.Join(c.dir, "collector.yaml"),
		"-values", filepath.Join(c.dir, "values"), "-good", filepath.Join(c.dir, "good.json"))
	c.process.Env, c.process.Stderr, c.process.Stdout = c.env, log, log
	if err := c.process.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill leaves it no time for anything.
func (c *collector) kill() {
	if c.process == nil {
		return
	}
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
	c.process = nil
}

// until waits for a condition, and shows the log where it doesn't come.
func (c *collector) until(what string, holds func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			c.t.Fatalf("not within 90 s: %s; the log ends with\n%s", what, log[max(0, len(log)-4000):])
		case <-ticker.C:
		}
	}
}

// own is the sum of one of the collector's metrics of itself, or -1 where it can't be read.
func (c *collector) own(name string) float64 { return sum(c.scrape("OWN_METRICS_PORT"), name) }

// requests are the series of the gateway's counts.
func (c *collector) requests() map[string]float64 { return c.scrape("METRICS_PORT") }

func (c *collector) scrape(port string) map[string]float64 {
	answer, err := http.Get("http://" + c.address(port) + "/metrics")
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	return series(answer.Body)
}

func series(text io.Reader) map[string]float64 {
	all := map[string]float64{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			name += "}"
		} else {
			name, value, ok = strings.Cut(lines.Text(), " ")
		}
		if number, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			all[name] = number
		}
	}
	return all
}

// sum adds up all series of a name, with labels that contain each of some texts; it is -1 where there is none.
func sum(all map[string]float64, name string, with ...string) float64 {
	total, found := 0.0, false
next:
	for key, value := range all {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, text := range with {
			if !strings.Contains(key, text) {
				continue next
			}
		}
		total, found = total+value, true
	}
	if !found {
		return -1
	}
	return total
}

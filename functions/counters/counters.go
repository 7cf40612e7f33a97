package counters

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// lineBytes bounds a line of what a pod shows.
const lineBytes = 64 << 10

// Address is where a pod shows what it counts.
func Address(ip string) string {
	return "http://" + net.JoinHostPort(ip, strconv.Itoa(gateway.StatsPort))
}

// Shown asks a pod at its Address for those metrics that a filter passes, by Envoy's own
// names: at Envoy's own Prometheus listener, which every gateway has. They have to be closed.
func Shown(ctx context.Context, client *http.Client, address, filter string) (io.ReadCloser, error) {
	query := url.Values{"filter": {filter}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/stats/prometheus?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading counters: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("reading counters: status %d", resp.StatusCode)
	}
	return resp.Body, nil
}

// Line is one series of a pod's. It is good until the next is read.
type Line struct {
	// Metric is its name, without the prefix by which Envoy shows it: upstream has one of its own,
	// a proxy that has registered istio_ as a namespace none.
	Metric        []byte
	labels, value []byte
}

// Labels calls see with each label. A value that has to be escaped is cut at its first quote.
func (l Line) Labels(see func(name, value []byte)) {
	for labels := l.labels; len(labels) > 0; {
		name, rest, found := bytes.Cut(labels, []byte(`="`))
		value, next, closed := bytes.Cut(rest, []byte(`"`))
		if !found || !closed {
			return
		}
		see(name, value)
		labels = bytes.TrimPrefix(next, []byte(","))
	}
}

// Millis is when that was, in milliseconds since 1970; 0 where it isn't said.
func (l Line) Millis() int64 {
	_, at, _ := bytes.Cut(bytes.TrimSpace(l.value), []byte(" "))
	millis, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil {
		return 0
	}
	return millis
}

// Value is what was counted.
func (l Line) Value() (float64, error) {
	number, _, _ := bytes.Cut(bytes.TrimSpace(l.value), []byte(" "))
	value, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return 0, fmt.Errorf("reading counters: %w", err)
	}
	return value, nil
}

// Each reads the series of some metrics, line by line: a pod shows those of all that it ever
// served, until it ends. Nothing is kept of them, so the time for a reading alone bounds how many
// there may be.
func Each(text io.Reader, metrics []string, see func(Line) error) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, lineBytes)
	for lines.Scan() {
		shown := bytes.TrimPrefix(lines.Bytes(), []byte("envoy_"))
		metric, ok := metricOf(shown, metrics)
		if !ok {
			continue
		}
		line, ok := cut(shown, len(metric))
		if !ok {
			return fmt.Errorf("reading counters: no value in %q", lines.Text())
		}
		if err := see(line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading counters: %w", err)
	}
	return nil
}

// metricOf is which of the metrics a line is of.
func metricOf(shown []byte, metrics []string) (string, bool) {
	for _, metric := range metrics {
		if rest, ok := bytes.CutPrefix(shown, []byte(metric)); ok && len(rest) > 0 && (rest[0] == '{' || rest[0] == ' ') {
			return metric, true
		}
	}
	return "", false
}

// cut takes a line apart behind its name.
func cut(shown []byte, name int) (Line, bool) {
	line := Line{Metric: shown[:name]}
	rest := shown[name:]
	if rest[0] == ' ' {
		line.value = rest[1:]
		return line, len(line.value) > 0
	}
	var ok bool
	line.labels, line.value, ok = bytes.Cut(rest[1:], []byte("} "))
	return line, ok
}

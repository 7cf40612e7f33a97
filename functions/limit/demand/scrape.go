package demand

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// lineBytes bounds a line of what a pod shows.
const lineBytes = 64 << 10

// scrape reads a pod's counters: those of the virtual services that are served.
func scrape(ctx context.Context, client *http.Client, ip string, served sets.Set[string]) (counts, error) {
	_, offered := gateway.Scoped(gateway.OfferedMetric)
	_, marked := gateway.Scoped(gateway.MarkedMetric)
	shown, err := Shown(ctx, client, StatsAddress(ip), offered+"|"+marked)
	if err != nil {
		return nil, err
	}
	defer func() { _ = shown.Close() }()
	return parse(shown, served)
}

// StatsAddress is where a pod shows what it counts.
func StatsAddress(ip string) string {
	return "http://" + net.JoinHostPort(ip, strconv.Itoa(gateway.StatsPort))
}

// Shown asks a pod at its StatsAddress for those metrics that a filter passes, by Envoy's own
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

// parse reads the counters of what is served, line by line: a pod shows those of all
// that it ever served, until it ends. Nothing is kept of them, so the time for a reading
// alone bounds how many there may be.
func parse(text io.Reader, served sets.Set[string]) (counts, error) {
	read := counts{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, lineBytes)
	for lines.Scan() {
		// Upstream Envoy shows the counter with its own prefix, a proxy that has
		// registered istio_ as a namespace without.
		shown := bytes.TrimPrefix(lines.Bytes(), []byte("envoy_"))
		line, marked := bytes.CutPrefix(shown, []byte(gateway.MarkedMetric+"{"))
		if !marked {
			var offered bool
			if line, offered = bytes.CutPrefix(shown, []byte(gateway.OfferedMetric+"{")); !offered {
				continue
			}
		}
		labels, value, ok := bytes.Cut(line, []byte("} "))
		if !ok {
			return nil, fmt.Errorf("reading counters: no value in %q", lines.Text())
		}
		s, ok := seriesOf(labels, served)
		if !ok {
			continue
		}
		s.marked = marked
		count, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		if err != nil {
			return nil, fmt.Errorf("reading counters: %w", err)
		}
		read[s] += count
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading counters: %w", err)
	}
	return read, nil
}

// seriesOf finds out what a counter with those labels is of; false if that isn't
// served. What is has no name that would have to be escaped.
func seriesOf(labels []byte, served sets.Set[string]) (s series, ok bool) {
	s.entry = -1
	for len(labels) > 0 {
		name, rest, found := bytes.Cut(labels, []byte(`="`))
		value, next, closed := bytes.Cut(rest, []byte(`"`))
		if !found || !closed {
			return s, false
		}
		switch string(name) {
		case gateway.RouteTag:
			of, _ := bytes.CutPrefix(value, []byte(gateway.VirtualServiceMetadata("")))
			if !served.Has(string(of)) {
				return s, false
			}
			s.virtualService = string(of)
		case gateway.EntryTag:
			s.entry = slices.IndexFunc(gateway.Entries(), func(e gateway.Entry) bool { return e.Name == string(value) })
		}
		labels = bytes.TrimPrefix(next, []byte(","))
	}
	return s, s.virtualService != "" && s.entry >= 0
}

package demand

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// scrape reads a pod's counters: those of the virtual services that are served.
func scrape(ctx context.Context, client *http.Client, ip string, served sets.Set[string]) (counts, error) {
	_, offered := gateway.Scoped(gateway.OfferedMetric)
	_, marked := gateway.Scoped(gateway.MarkedMetric)
	shown, err := counters.Shown(ctx, client, counters.Address(ip), offered+"|"+marked)
	if err != nil {
		return nil, err
	}
	defer func() { _ = shown.Close() }()
	return parse(shown, served)
}

// parse reads the counters of what is served.
func parse(text io.Reader, served sets.Set[string]) (counts, error) {
	read := counts{}
	err := counters.Each(text, []string{gateway.OfferedMetric, gateway.MarkedMetric}, func(line counters.Line) error {
		s, ok := seriesOf(line, served)
		if !ok {
			return nil
		}
		count, err := line.Value()
		read[s] += count
		return err //nolint:wrapcheck // it says what was being done
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was being done
	}
	return read, nil
}

// seriesOf finds out what a counter is of; false if that isn't served. What is has no name
// that would have to be escaped.
func seriesOf(line counters.Line, served sets.Set[string]) (s series, ok bool) {
	s.entry, s.marked = -1, string(line.Metric) == gateway.MarkedMetric
	line.Labels(func(name, value []byte) {
		switch string(name) {
		case gateway.RouteTag:
			if of, _ := bytes.CutPrefix(value, []byte(gateway.VirtualServiceMetadata(""))); served.Has(string(of)) {
				s.virtualService = string(of)
			}
		case gateway.EntryTag:
			s.entry = slices.IndexFunc(gateway.Entries(), func(e gateway.Entry) bool { return e.Name == string(value) })
		}
	})
	return s, s.virtualService != "" && s.entry >= 0
}

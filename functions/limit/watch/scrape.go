package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/functions/limit/bounds"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// answerWithin is how long a pod may take to answer a question, and allWithin to answer all
	// that a look has for it: half of the time after which what isn't read is unwatched.
	answerWithin = time.Second
	allWithin    = bounds.UnreadFor / 2
	// namesAtOnce bounds the virtual services that one question names, so that its line stays
	// below what Envoy takes.
	namesAtOnce = 32
	// answerBytes bounds an answer: that to a question has less than a tenth of it per
	// virtual service and entry.
	answerBytes = 8 << 20
)

// scrape reads what a pod has counted of some virtual services, each with the duration above
// which its requests are slow, at its counters.Address. One that the pod has had no request
// for has counted nothing. A question that fails is the error of those that it names, and of no
// others.
func scrape(ctx context.Context, client *http.Client, address string, slow map[string]time.Duration) map[string]bounds.Reading {
	ctx, cancel := context.WithTimeout(ctx, allWithin)
	defer cancel()
	read := make(map[string]bounds.Reading, len(slow))
	for names := range slices.Chunk(slices.Sorted(maps.Keys(slow)), namesAtOnce) {
		families, err := shown(ctx, client, address, names)
		for _, name := range names {
			if err != nil {
				read[name] = bounds.Reading{Err: err}
				continue
			}
			read[name] = bounds.Reading{Counts: countsOf(families, name, slow[name])}
		}
	}
	return read
}

// shown are the metrics of virtual services, by one question that a pod has answerWithin for.
func shown(ctx context.Context, client *http.Client, address string, names []string) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	text, err := ask(ctx, client, address, names)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// ask returns the metrics of virtual services as a pod shows them.
func ask(ctx context.Context, client *http.Client, address string, names []string) (string, error) {
	body, err := counters.Shown(ctx, client, address, filterOf(names))
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	text, err := io.ReadAll(io.LimitReader(body, answerBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading counters: %w", err)
	}
	if len(text) > answerBytes {
		return "", fmt.Errorf("reading counters: more than %d bytes", answerBytes)
	}
	return string(text), nil
}

// filterOf is the expression by which Envoy chooses metrics: by its own name of each, in which
// a dot comes after the scope and the tags follow, that of the route last.
func filterOf(names []string) string {
	own := make([]string, 0, len(metrics()))
	for _, metric := range metrics() {
		_, name := gateway.Scoped(metric)
		own = append(own, regexp.QuoteMeta(name))
	}
	quoted := make([]string, 0, len(names))
	for _, name := range names {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return `\.(` + strings.Join(own, "|") + `)\..*` + regexp.QuoteMeta(gateway.VirtualServiceMetadata("")) + `(` + strings.Join(quoted, "|") + `)$`
}

func metrics() []string {
	return []string{gateway.CompletedMetric, gateway.ErrorsMetric, gateway.DurationMetric}
}

// parse returns metrics by their names, without the prefix by which Envoy shows them: upstream
// has one of its own, a proxy that has registered istio_ as a namespace none.
func parse(text string) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	shown, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading counters: %w", err)
	}
	families := make(map[string]*dto.MetricFamily, len(shown))
	for name, family := range shown {
		families[strings.TrimPrefix(name, "envoy_")] = family
	}
	if len(families) < len(shown) {
		return nil, errors.New("reading counters: a metric is shown by two names")
	}
	return families, nil
}

// countsOf adds up what was counted of a virtual service at all entries.
func countsOf(families map[string]*dto.MetricFamily, virtualService string, slow time.Duration) bounds.Counts {
	var counts bounds.Counts
	each := func(metric string, see func(*dto.Metric)) {
		for _, m := range families[metric].GetMetric() {
			if isOf(m, virtualService) {
				see(m)
			}
		}
	}
	each(gateway.CompletedMetric, func(m *dto.Metric) { counts.Completed += m.GetCounter().GetValue() })
	each(gateway.ErrorsMetric, func(m *dto.Metric) { counts.Errors += m.GetCounter().GetValue() })
	if slow <= 0 {
		return counts
	}
	above := float64(slow) / float64(time.Millisecond)
	each(gateway.DurationMetric, func(m *dto.Metric) {
		total := float64(m.GetHistogram().GetSampleCount())
		late, seen := bounds.Slow(bucketsOf(m.GetHistogram()), total, above)
		counts = counts.Plus(bounds.Counts{Timed: total, Slow: late, Above: time.Duration(seen * float64(time.Millisecond))})
	})
	return counts
}

func isOf(m *dto.Metric, virtualService string) bool {
	return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
		return l.GetName() == gateway.RouteTag && l.GetValue() == gateway.VirtualServiceMetadata(virtualService)
	})
}

// bucketsOf are a histogram's finite buckets.
func bucketsOf(h *dto.Histogram) []bounds.Bucket {
	buckets := make([]bounds.Bucket, 0, len(h.GetBucket()))
	for _, b := range h.GetBucket() {
		if !math.IsInf(b.GetUpperBound(), 1) {
			buckets = append(buckets, bounds.Bucket{UpTo: b.GetUpperBound(), Count: float64(b.GetCumulativeCount())})
		}
	}
	slices.SortFunc(buckets, func(a, b bounds.Bucket) int { return cmp.Compare(a.UpTo, b.UpTo) })
	return buckets
}

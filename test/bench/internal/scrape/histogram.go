package scrape

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Histogram is how often a value was at most each of some bounds.
type Histogram struct {
	// Bounds, the last of which is +Inf, and how many values are up to each.
	bounds []float64
	counts []float64
}

// boundLabel is the label of a bucket that has its bound.
const boundLabel = "le"

// Histograms returns those whose names have a prefix, by name and labels, summed
// over all pods: `name{label="value"}`.
func (p Page) Histograms(prefix string) (map[string]Histogram, error) {
	buckets := map[string]map[float64]float64{}
	for _, name := range p.histogramNames(prefix) {
		var failed error
		err := p.samples(name+"_bucket", func(of Labels, value float64) {
			bound, err := strconv.ParseFloat(of[boundLabel], 64)
			if err != nil {
				failed = fmt.Errorf("histogram %s: %w", name, err)
				return
			}
			delete(of, boundLabel)
			series := name + of.String()
			if buckets[series] == nil {
				buckets[series] = map[float64]float64{}
			}
			buckets[series][bound] += value
		})
		if err != nil {
			return nil, err
		}
		if failed != nil {
			return nil, failed
		}
	}
	out := make(map[string]Histogram, len(buckets))
	for series, of := range buckets {
		h := Histogram{bounds: slices.Sorted(maps.Keys(of))}
		for _, bound := range h.bounds {
			h.counts = append(h.counts, of[bound])
		}
		out[series] = h
	}
	return out, nil
}

// histogramNames finds the histograms by what the page says of their types.
func (p Page) histogramNames(prefix string) []string {
	var names []string
	for line := range bytes.Lines(p) {
		fields := strings.Fields(string(line))
		if len(fields) == 4 && fields[0] == "#" && fields[1] == "TYPE" && fields[3] == "histogram" && strings.HasPrefix(fields[2], prefix) {
			names = append(names, fields[2])
		}
	}
	slices.Sort(names)
	return slices.Compact(names) // several pods show the same
}

// String is as in the text format; nothing where there is no label.
func (l Labels) String() string {
	if len(l) == 0 {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, l[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// Since is what was observed after an earlier reading of the same histogram. One
// that was read before its process began anew counts as empty.
func (h Histogram) Since(before Histogram) Histogram {
	if !slices.Equal(h.bounds, before.bounds) || before.Count() > h.Count() {
		return h
	}
	out := Histogram{bounds: h.bounds, counts: slices.Clone(h.counts)}
	for i, count := range before.counts {
		out.counts[i] -= count
	}
	return out
}

// Count is how many values were observed.
func (h Histogram) Count() float64 {
	if len(h.counts) == 0 {
		return 0
	}
	return h.counts[len(h.counts)-1]
}

// Quantile is the value up to which the fraction q, 0 to 1, of all values are, as
// well as the buckets tell: between two bounds they are taken to be spread evenly,
// as Prometheus does. Beyond the last bound it is that bound. NaN where there are
// no values.
func (h Histogram) Quantile(q float64) float64 {
	rank := q * h.Count()
	if h.Count() == 0 {
		return math.NaN()
	}
	low, below := 0.0, 0.0
	for i, count := range h.counts {
		if count >= rank && count > below {
			if math.IsInf(h.bounds[i], 1) {
				return low
			}
			return low + (h.bounds[i]-low)*(rank-below)/(count-below)
		}
		low, below = h.bounds[i], count
	}
	return low
}

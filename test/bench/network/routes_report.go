package main

import (
	"fmt"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
)

const kibi, mebi = 1 << 10, 1 << 20

const (
	// sizesGrow bounds what the second half of the routes added by what the first
	// half did: 1 for what grows by the route, 2.6 for what grows with the square of
	// their number. A fifth is room for the first route of all, which may bring more.
	sizesGrow = 1.2
	// heapsGrow is the same of heaps, whose size depends on the moment at which they
	// were collected, too.
	heapsGrow = 1.5
	// readyLikeBefore bounds how long one more takes with 300 routes by how long it
	// takes with none. That doesn't stay the same: istiod sends all routes of an
	// entry for each that changes, and every Envoy reads them. The bound is for what
	// would come on top: proofs or reconciles of the routes that didn't change.
	readyLikeBefore = 2.5
	// writesMore is how many writes one change may take more with 300 routes than
	// with none: one, as a status may be written once or twice for the same change.
	// A resync of all routes would be hundreds.
	writesMore = 1
)

// quantity is what was measured at each level.
type quantity struct {
	name, unit string
	// of returns a level's samples, in unit.
	of func(level) []float64
	// growth bounds what the second half of the routes added by what the first half
	// did; 0 for no bound.
	growth float64
}

func quantities() []quantity {
	once := func(value func(level) float64) func(level) []float64 {
		return func(l level) []float64 { return []float64{value(l)} }
	}
	each := func(value func(change) float64) func(level) []float64 {
		return func(l level) []float64 { return l.each(value) }
	}
	return []quantity{
		{name: "one more Ready", unit: "ms", of: each(func(c change) float64 { return 1e3 * c.ready })},
		{name: "API writes, to add and remove one", of: each(func(c change) float64 { return c.writes })},
		{name: "routes sent to a gateway, to add one", of: each(func(c change) float64 { return c.pushes / gateways })},
		{name: "sent to all gateways, to add one", unit: "KiB", of: each(func(c change) float64 { return c.pushed / kibi })},
		{name: "sent to all gateways, each time", unit: "KiB", of: each(sentEachTime), growth: sizesGrow},
		{name: "gateway's configuration", unit: "KiB", of: once(func(l level) float64 { return l.config / kibi }), growth: sizesGrow},
		{name: "controller's heap", unit: "KiB", of: each(func(c change) float64 { return c.controllerHeap / kibi }), growth: heapsGrow},
		{name: "istiod's heap", unit: "KiB", of: each(func(c change) float64 { return c.istiodHeap / kibi }), growth: heapsGrow},
		{name: "controller's working set", unit: "MiB", of: once(func(l level) float64 { return l.controller / mebi })},
		{name: "istiod's working set", unit: "MiB", of: once(func(l level) float64 { return l.istiod / mebi })},
		{name: "all new ones Ready", unit: "s", of: once(func(l level) float64 { return l.filled })},
	}
}

// sentEachTime takes out that istiod collects the writes of a change into one push
// of routes at one time and into two at another.
func sentEachTime(c change) float64 { return c.pushed / c.pushes * gateways / kibi }

func (b *bench) reportRoutes(measured []level) {
	first, last := measured[0], measured[len(measured)-1]
	between := func(of func(change) float64) (float64, float64) {
		return stats.Median(first.each(of)), stats.Median(last.each(of))
	}
	readyFirst, readyLast := between(func(c change) float64 { return c.ready })
	writesFirst, writesLast := between(func(c change) float64 { return c.writes })
	name := func(text string) string { return fmt.Sprintf("%s, at %d", text, last.routes) }
	b.report.Add(routesPart,
		report.Value(name("one more Ready")+" / at 0", readyLast/readyFirst, "×").Within(report.AtMost, readyLikeBefore),
		report.Value(name("API writes to add and remove one")+" - at 0", writesLast-writesFirst, "").Within(report.AtMost, writesMore),
	)
	for _, q := range quantities() {
		b.report.Add("Routes: "+q.name, q.figures(measured)...)
	}
}

// figures are the medians, level by level, what each route added, and how straight
// the line is.
func (q quantity) figures(measured []level) []report.Figure {
	var figures []report.Figure
	var medians []float64
	for _, at := range measured {
		samples := stats.Summarize(q.of(at))
		medians = append(medians, samples.Median)
		figure := report.Value(fmt.Sprintf("%d routes", at.routes), samples.Median, q.unit)
		if samples.N > 1 {
			figure = report.Median(figure.Name, samples, q.unit)
		}
		figures = append(figures, figure)
	}
	if q.growth == 0 {
		return figures
	}
	n := len(medians) - 1
	perRoute := (medians[n] - medians[0]) / float64(measured[n].routes-measured[0].routes)
	return append(figures,
		report.Value("each route", perRoute, q.unit),
		report.Value("growth, the second half / the first", bend(medians), "×").Within(report.AtMost, q.growth),
	)
}

// bend is what values at equal distances grow by in their second half, divided by
// what they grow by in the first: 1 on a straight line.
func bend(values []float64) float64 {
	middle := stats.Median([]float64{values[(len(values)-1)/2], values[len(values)/2]})
	return (values[len(values)-1] - middle) / (middle - values[0])
}

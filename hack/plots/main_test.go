package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"sluice.dev/sluice/functions/whatif"
)

// The plot is XML, and has a point for each target in each of its panels.
func TestPlot(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, 300, 3); err != nil {
		t.Fatal(err)
	}
	lines := 0
	in := xml.NewDecoder(&out)
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "polyline" {
			continue
		}
		lines++
		for _, a := range start.Attr {
			if n := len(strings.Fields(a.Value)); a.Name.Local == "points" && n != 9 {
				t.Errorf("a curve has %d points, want 9", n)
			}
		}
	}
	if lines != 2 {
		t.Errorf("%d curves, want 2", lines)
	}
}

// A curve keeps within its panel, whatever the figures are.
func TestCurve(t *testing.T) {
	for _, most := range []float64{0, .003, 1, 37, 12345} {
		points := []point{{target: 1}, {target: 2, replicas: whatif.Interval{Median: most / 2, High: most}}}
		p := curve("", 0, points, func(p point) whatif.Interval { return p.replicas })
		if len(p.Ticks) < 2 || len(p.Ticks) > 9 {
			t.Errorf("up to %g: %d ticks", most, len(p.Ticks))
		}
		for _, k := range p.Ticks {
			if k.At < -1e-6 || k.At > height+1e-6 {
				t.Errorf("up to %g: a tick at %g", most, k.At)
			}
		}
	}
}

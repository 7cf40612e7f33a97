package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// columns of the table: a figure's name is aligned to the left, the rest to the
// right of their columns.
var columns = [...]string{"", "figure", "half of the samples", "of", "bound", "verdict"}

// table prints the figures, a heading for each part.
func (r *Report) table(out io.Writer) {
	rows := make([][len(columns)]string, 0, len(r.Figures))
	widths := [len(columns)]int{}
	for i, title := range columns {
		widths[i] = utf8.RuneCountInString(title)
	}
	for _, figure := range r.Figures {
		row := figure.row()
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(out, "\nbench-%s, %s on %d CPUs\n", r.Benchmark, r.Started.Format("2006-01-02 15:04 MST"), r.CPUs)
	fmt.Fprintln(out, line(columns, widths))
	part := ""
	for i, row := range rows {
		if r.Figures[i].Part != part {
			part = r.Figures[i].Part
			fmt.Fprintln(out, part)
		}
		fmt.Fprintln(out, line(row, widths))
	}
	fmt.Fprintf(out, "took %.0f s\n", float64(r.Seconds))
	if r.Unfinished != "" {
		fmt.Fprintf(out, "unfinished: %s\n", r.Unfinished)
	}
}

func (f Figure) row() [len(columns)]string {
	row := [len(columns)]string{f.Name, strings.TrimSpace(digits(float64(f.Value)) + " " + f.Unit)}
	if s := f.Spread; s != nil {
		row[2] = digits(float64(s.Low)) + " – " + digits(float64(s.High))
		row[3] = strconv.Itoa(s.Samples)
	}
	if f.Bound != nil {
		row[4] = string(f.Bound.Direction) + " " + strconv.FormatFloat(f.Bound.Value, 'f', -1, 64)
		row[5] = string(f.Verdict)
	}
	return row
}

func line(cells [len(columns)]string, widths [len(columns)]int) string {
	var b strings.Builder
	for i, cell := range cells {
		padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		b.WriteString("  ")
		if i == 0 {
			b.WriteString(cell + padding)
		} else {
			b.WriteString(padding + cell)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// digits shows a value to a thousandth of itself, or better: whole numbers as
// they are.
func digits(value float64) string {
	places := 0
	switch size := math.Abs(value); {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return "not measured"
	case size == math.Trunc(size):
	case size < 10:
		places = 3
	case size < 100:
		places = 2
	case size < 1000:
		places = 1
	}
	return strconv.FormatFloat(value, 'f', places, 64)
}

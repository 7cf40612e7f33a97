// Package report is how every benchmark tells what it measured: a table with each
// figure's bound and verdict, the same as JSON, and one line that counts them.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"sluice.dev/sluice/test/bench/internal/stats"
)

// ErrMissed says that a benchmark ran and a bound was missed.
var ErrMissed = errors.New("a bound was missed")

// ErrUnfinished says that a benchmark didn't measure all that it should.
var ErrUnfinished = errors.New("not everything was measured")

// Verdict is what a figure's bound says of it.
type Verdict string

// A figure without a bound has no verdict.
const (
	Held   Verdict = "held"
	Missed Verdict = "missed"
)

// Direction says on which side of a bound a figure has to be.
type Direction string

// A figure that equals its bound holds it.
const (
	AtMost  Direction = "≤"
	AtLeast Direction = "≥"
)

// Bound is what a figure is held against.
type Bound struct {
	Direction Direction `json:"direction"`
	Value     float64   `json:"value"`
}

// judge returns the verdict on a value. One that could not be measured, NaN,
// misses every bound.
func (b Bound) judge(value float64) Verdict {
	if (b.Direction == AtMost && value <= b.Value) || (b.Direction == AtLeast && value >= b.Value) {
		return Held
	}
	return Missed
}

// Figure is one row.
type Figure struct {
	// Part of the benchmark that the figure belongs to: its heading.
	Part string `json:"part"`
	// Name says what was measured and against what.
	Name string `json:"name"`
	// Value in Unit: "×" for a ratio.
	Value Number `json:"value"`
	Unit  string `json:"unit"`
	// Spread, where the value is a median of samples.
	Spread *Spread `json:"spread,omitempty"`
	// Bound, where there is one; all else is told for information.
	Bound   *Bound  `json:"bound,omitempty"`
	Verdict Verdict `json:"verdict,omitempty"`
}

// Spread says between which values half of the samples lie.
type Spread struct {
	Low     Number `json:"low"`
	High    Number `json:"high"`
	Samples int    `json:"samples"`
}

// Number is null in JSON where it isn't finite, since JSON has no word for it.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// Value is a figure that was measured once.
func Value(name string, value float64, unit string) Figure {
	return Figure{Name: name, Value: Number(value), Unit: unit}
}

// Median is a figure that is the median of samples.
func Median(name string, of stats.Summary, unit string) Figure {
	figure := Value(name, of.Median, unit)
	figure.Spread = &Spread{Low: Number(of.Low), High: Number(of.High), Samples: of.N}
	return figure
}

// Within returns the figure held against a bound.
func (f Figure) Within(direction Direction, bound float64) Figure {
	f.Bound = &Bound{Direction: direction, Value: bound}
	return f
}

// Report is all that one run of a benchmark measured.
type Report struct {
	// Benchmark is its name: "network" is run by `make bench-network`.
	Benchmark string    `json:"benchmark"`
	Started   time.Time `json:"started"`
	Seconds   Number    `json:"seconds"`
	// CPUs of the machine, which all of the stack and the benchmark share.
	CPUs    int      `json:"cpus"`
	Figures []Figure `json:"figures"`
	Held    int      `json:"held"`
	Missed  int      `json:"missed"`
	// Unfinished says why the rest was not measured.
	Unfinished string `json:"unfinished,omitempty"`

	// mu lets parts be measured side by side.
	mu sync.Mutex
}

// New begins the report of a benchmark.
func New(benchmark string, started time.Time) *Report {
	return &Report{Benchmark: benchmark, Started: started, CPUs: runtime.NumCPU()}
}

// Add judges a part's figures and appends them.
func (r *Report) Add(part string, figures ...Figure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, figure := range figures {
		figure.Part = part
		if figure.Bound != nil {
			figure.Verdict = figure.Bound.judge(float64(figure.Value))
		}
		switch figure.Verdict {
		case Held:
			r.Held++
		case Missed:
			r.Missed++
		}
		r.Figures = append(r.Figures, figure)
	}
}

// Finish prints the table, writes the JSON to <folder>/<benchmark>.json and prints
// the counts as the last line. What kept the benchmark from measuring everything,
// if anything did, is told in both. The error is ErrUnfinished or ErrMissed; there
// is nothing to be said of it that isn't printed.
func (r *Report) Finish(out io.Writer, folder string, took time.Duration, cause error) error {
	r.Seconds = Number(took.Seconds())
	if cause != nil {
		r.Unfinished = cause.Error()
	}
	if err := r.write(folder); err != nil {
		cause = errors.Join(cause, err)
		r.Unfinished = cause.Error()
	}
	r.table(out)
	fmt.Fprintf(out, "%d bounds held, %d missed\n", r.Held, r.Missed)
	switch {
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrUnfinished, cause)
	case r.Missed > 0:
		return ErrMissed
	default:
		return nil
	}
}

func (r *Report) write(folder string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("making the report's folder: %w", err)
	}
	path := filepath.Join(folder, r.Benchmark+".json")
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

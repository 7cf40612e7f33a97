package report

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/bench/internal/stats"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name      string
		value     float64
		direction Direction
		want      Verdict
	}{
		{"below the most", 1.04, AtMost, Held},
		{"the most itself", 1.05, AtMost, Held},
		{"above the most", 1.0501, AtMost, Missed},
		{"above the least", 1.06, AtLeast, Held},
		{"the least itself", 1.05, AtLeast, Held},
		{"below the least", 1.04, AtLeast, Missed},
		{"not measured, at most", math.NaN(), AtMost, Missed},
		{"not measured, at least", math.NaN(), AtLeast, Missed},
		{"without end, at most", math.Inf(1), AtMost, Missed},
	} {
		r := New("any", time.Time{})
		r.Add("part", Value(c.name, c.value, "×").Within(c.direction, 1.05))
		if got := r.Figures[0].Verdict; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if r.Held+r.Missed != 1 || (r.Held == 1) != (c.want == Held) {
			t.Errorf("%s: %d held, %d missed", c.name, r.Held, r.Missed)
		}
	}
}

func sample() *Report {
	r := New("network", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	r.CPUs = 2
	r.Add("Request path",
		Median("p50, Sluice / minimal", stats.Summary{Median: 1.0123, Low: 1.001, High: 1.0311, N: 24}, "×").Within(AtMost, 1.05),
		Value("throughput", 2576.4, "requests/s"))
	r.Add("Routes", Value("writes per change", 7, "").Within(AtMost, 5))
	return r
}

func TestFinish(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "build", "bench")
	var out strings.Builder
	if err := sample().Finish(&out, folder, 90*time.Second, nil); !errors.Is(err, ErrMissed) {
		t.Errorf("error is %v, want that a bound was missed", err)
	}
	want := `
bench-network, 2026-01-02 03:04 UTC on 2 CPUs
                                  figure  half of the samples  of   bound  verdict
Request path
  p50, Sluice / minimal          1.012 ×        1.001 – 1.031  24  ≤ 1.05     held
  throughput             2576 requests/s
Routes
  writes per change                    7                              ≤ 5   missed
took 90 s
1 bounds held, 1 missed
`
	if got := out.String(); got != want {
		t.Errorf("printed %s\nwant %s", got, want)
	}
	var read Report
	data, err := os.ReadFile(filepath.Join(folder, "network.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if read.Held != 1 || read.Missed != 1 || len(read.Figures) != 3 || read.Seconds != 90 {
		t.Errorf("read back %+v", &read)
	}
	first := read.Figures[0]
	if first.Value != 1.0123 || first.Spread.Samples != 24 || *first.Bound != (Bound{Direction: AtMost, Value: 1.05}) || first.Verdict != Held {
		t.Errorf("read back %+v", first)
	}
}

func TestFinishHeld(t *testing.T) {
	r := New("network", time.Time{})
	r.Add("part", Value("ratio", 1, "×").Within(AtMost, 1))
	if err := r.Finish(&strings.Builder{}, t.TempDir(), time.Second, nil); err != nil {
		t.Errorf("error is %v", err)
	}
}

func TestFinishUnfinished(t *testing.T) {
	folder := t.TempDir()
	var out strings.Builder
	r := New("network", time.Time{})
	r.Add("part", Value("ratio", math.NaN(), "×"))
	err := r.Finish(&out, folder, time.Second, errors.New("the gateway is gone"))
	if !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), "the gateway is gone") {
		t.Errorf("error is %v", err)
	}
	if !strings.Contains(out.String(), "unfinished: the gateway is gone") || !strings.HasSuffix(out.String(), "0 bounds held, 0 missed\n") {
		t.Errorf("printed %s", out.String())
	}
	data, err := os.ReadFile(filepath.Join(folder, "network.json"))
	if err != nil || !strings.Contains(string(data), `"value": null`) {
		t.Errorf("error %v, wrote %s", err, data)
	}
}

func TestFinishWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New("any", time.Time{}).Finish(&strings.Builder{}, file, time.Second, nil); !errors.Is(err, ErrUnfinished) {
		t.Errorf("error is %v, want that the report is missing", err)
	}
}

func TestDigits(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 7: "7", 1.01234: "1.012", 12.3456: "12.35", 123.456: "123.5", 2576.44: "2576", -1.5: "-1.500",
		math.Inf(1): "not measured",
	} {
		if got := digits(value); got != want {
			t.Errorf("digits(%v) is %q, want %q", value, got, want)
		}
	}
}

package main

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

func TestParse(t *testing.T) {
	images := []string{"-ranker", "r", "-store", "s", "-events", "e", "-kubeconfig", "k"}
	for _, tt := range []struct {
		name      string
		arguments []string
		err       string
	}{
		{"all that is required", images, ""},
		{"fewer rows", append([]string{"-rows", "500", "-broken", "5"}, images...), ""},
		{"no images", images[6:], "-ranker, -store and -events are required"},
		{"too few rows", append([]string{"-rows", "499"}, images...), "-rows is 499"},
		{"too many rows", append([]string{"-rows", "6001"}, images...), "-rows is 6001"},
		{"too many broken", append([]string{"-rows", "500", "-broken", "6"}, images...), "-broken is 6, want 0 to 5"},
		{"a word too many", append(images, "now"), `unexpected argument "now"`},
	} {
		if o, err := parse(tt.arguments); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %+v, %v", tt.name, o, err)
		}
	}
}

// The load ends by itself, after any run that isn't over by then.
func TestOnlineCallers(t *testing.T) {
	if err := online.Validate(); err != nil {
		t.Fatal(err)
	}
	if lasts := online.Duration(); lasts < alone+runWithin || lasts > longest-time.Minute {
		t.Errorf("the load lasts %v", lasts)
	}
}

func TestLeft(t *testing.T) {
	for _, tt := range []struct{ limit, online, want float64 }{{100, 0, 97}, {100, 20, 77.5612}, {100, 100, 0}, {0, 20, 0}} {
		if got := left(tt.limit, tt.online); got < tt.want-1e-9 || got > tt.want+1e-9 {
			t.Errorf("%g/s leave %g/s of %g/s, want %g/s", tt.online, got, tt.limit, tt.want)
		}
	}
}

func TestRowsAreAligned(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, s := range []sample{
		{end: 2, online: 20, p99: 9 * time.Millisecond, limit: 100, left: 77.5},
		{end: 128, online: 60, limited: 12, p99: 1412 * time.Millisecond, limit: 100, left: 38.6, batch: 38.4, progress: progress{known: true, succeeded: 2997, failed: 3, inFlight: 12, end: now.Add(40 * time.Second)}},
	} {
		if row := s.row(now); utf8.RuneCountInString(row) != utf8.RuneCountInString(header) {
			t.Errorf("row and header differ:\n%s\n%s", row, header)
		}
	}
}

// Only even stretches beside the batch count: a batch follows changes with a delay.
func TestSteady(t *testing.T) {
	var all traffic
	for i, rate := range []float64{20, 20, 20, 20, 20, 20, 40, 60, 60, 60, 60, 60, 20} {
		s := sample{end: every * (i + 1), online: rate, limit: 100, batch: 70}
		if i == 0 {
			s.batch = 0
		}
		all.samples = append(all.samples, s)
	}
	var ends []int
	for _, s := range all.steady() {
		ends = append(ends, s.end/every-1)
	}
	if len(ends) != 4 || ends[0] != 4 || ends[1] != 5 || ends[2] != 10 || ends[3] != 11 {
		t.Errorf("steady are %v", ends)
	}
}

func TestVerdict(t *testing.T) {
	answers := func(latency time.Duration) platform.Answers {
		return platform.Answers{{Answer: load.Answer{Latency: latency}}}
	}
	right := verdict{
		rows: 1000, total: 1000, succeeded: 997, failed: 3, broken: 3, errors: 3, batches: 1,
		online: load.Second{Offered: 100, Admitted: 98, Limited: 2}, steady: 5, excess: 1, taken: 0.98,
		before: answers(10 * time.Millisecond), during: answers(15 * time.Millisecond),
	}
	if problems := right.problems(); len(problems) > 0 || right.ratio() != 1.5 {
		t.Errorf("%v, and %g times", problems, right.ratio())
	}
	for says, change := range map[string]func(*verdict){
		"1000 rows, and the run 999 items":           func(v *verdict) { v.total = 999 },
		"996 items have succeeded":                   func(v *verdict) { v.succeeded = 996 },
		"4 items have failed":                        func(v *verdict) { v.succeeded, v.failed = 996, 4 },
		"and 2 are set apart":                        func(v *verdict) { v.errors = 2 },
		"the output isn't right: item 7":             func(v *verdict) { v.wrong = errors.New("item 7 has 2 records") },
		"the object has 2 Batches":                   func(v *verdict) { v.batches = 2 },
		"1 answers before the batch and 0 beside it": func(v *verdict) { v.during = nil },
		"1 online requests got neither":              func(v *verdict) { v.online.Errored = 1 },
		"3 of 100 online requests were refused":      func(v *verdict) { v.online.Limited = 3 },
		"no second in which online callers":          func(v *verdict) { v.steady = 0 },
		"took 3.5/s more":                            func(v *verdict) { v.excess = 3.5 },
	} {
		v := right
		change(&v)
		if problems := v.problems(); len(problems) != 1 || !strings.Contains(problems[0].Error(), says) {
			t.Errorf("%s: %v", says, problems)
		}
	}
}

package trace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRead(t *testing.T) {
	m := Missing
	for name, c := range map[string]struct {
		text  string
		start int64
		want  []float32
		ready []float32
	}{
		"seconds":         {"0,3\n1,4\n", 0, []float32{3, 4}, nil},
		"RFC 3339":        {"time,requests\n2026-01-31T15:04:05Z,3\n2026-01-31T16:04:06+01:00,4.5\n", 1769871845, []float32{3, 4.5}, nil},
		"gaps":            {"10,1\n13,2\n", 10, []float32{1, m, m, 2}, nil},
		"spaces, comment": {"# of the ranker\n 7 , 1 \n\n8,0\n", 7, []float32{1, 0}, nil},
		"one line":        {"1700000000,0", 1700000000, []float32{0}, nil},
		"replicas":        {"time,requests,replicas\n5,3,1\n6,4, 2\n", 5, []float32{3, 4}, []float32{1, 2}},
		"some replicas":   {"5,3\n6,4,\n7,4,2\n9,1\n", 5, []float32{3, 4, 4, m, 1}, []float32{m, m, 2, m, m}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(c.text))
			if err != nil || got.Start.Unix() != c.start || !slices.Equal(got.Seconds, c.want) || !slices.Equal(got.Ready, c.ready) {
				t.Errorf("Read() = %v, %v, %v, want %v from %d", got.Start, got.Seconds, err, c.want, c.start)
			}
		})
	}
}

// What can't be is told by the line, and with a remedy.
func TestReadErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "the recording is empty: give at least one line"},
		"a header alone":   {"time,requests\n", "the recording is empty: give at least one line"},
		"unsorted":         {"5,1\n6,1\n4,1\n", "line 3: 4 is before the line above it: sort the lines by time"},
		"twice":            {"time,requests\n5,1\n5,1\n", "line 3: 5 is there twice: write each second once"},
		"negative":         {"5,-1\n", "line 1: requests are -1: write 0 or more"},
		"too many":         {"5,1e7\n", "line 1: requests are 1e7: at most 1000000 came in a second"},
		"infinite":         {"5,Inf\n", "line 1: requests are Inf: at most"},
		"no number":        {"5,many\n", `line 1: requests are "many": write a number`},
		"not a number":     {"5,NaN\n", `line 1: requests are "NaN": write a number`},
		"no requests":      {"5,\n", `line 1: requests are "": write a number, or leave out a line`},
		"no time":          {"1,1\nnoon,1\n", `line 2: time is "noon": write RFC 3339`},
		"half a second":    {"1.5,1\n", "line 1: time 1.5 isn't a full second: add up"},
		"part of a second": {"2026-01-31T15:04:05.25Z,1\n", "isn't a full second: add up"},
		"milliseconds":     {"1769871845000,1\n", "are they milliseconds?"},
		"before time":      {"-4,1\n", "write seconds from 0"},
		"four fields":      {"1,2,3,4\n", "line 1: it has 4 fields: write `time,requests`"},
		"no replicas":      {"1,2,many\n", `line 1: replicas are "many": write a whole number from 0 to 1000000`},
		"too many of them": {"1,2,1000001\n", `line 1: replicas are "1000001"`},
		"one field":        {"1\n", "line 1: it has 1 fields"},
		"more than a week": {"0,1\n604800,1\n", "line 2: 604800 is more than 7 days after the first line"},
		"an open quote":    {"0,1\n1,\"2\n", "reading the recording"},
		"a header in it":   {"1,1\ntime,requests\n", `line 2: time is "time"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Read() = %v, %v, want %q", got, err, c.says)
			}
		})
	}
	if _, err := Read(strings.NewReader(strings.Repeat("#"+strings.Repeat("x", 1<<20)+"\n", 65))); err == nil || !strings.Contains(err.Error(), "more than 64 MB") {
		t.Errorf("a file of 65 MB: %v", err)
	}
}

func TestCheck(t *testing.T) {
	if err := (Trace{Seconds: []float32{1, 2}, Ready: []float32{1}}).Check(); err == nil || !strings.Contains(err.Error(), "replicas of 1 seconds, and requests of 2") {
		t.Errorf("replicas of other seconds: %v", err)
	}
	for name, c := range map[string]struct {
		seconds []float32
		says    string
	}{
		"none":           {nil, "empty"},
		"nothing known":  {[]float32{Missing, Missing}, "knows of no second"},
		"too long":       {make([]float32, 7*86400+1), "at most 604800"},
		"too many":       {[]float32{1, 2e6}, "second 1 of the recording has 2e+06 requests"},
		"a whole week":   {make([]float32, 7*86400), ""},
		"a gap is sound": {[]float32{1, Missing}, ""},
	} {
		if err := (Trace{Seconds: c.seconds}).Check(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// What is written is what is read.
func TestWriteAndRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.Float32Range(0, MostRequests)
		of := Trace{Start: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "start"), 0).UTC(), Seconds: []float32{known.Draw(t, "first")}}
		for range rapid.IntRange(0, 50).Draw(t, "seconds") {
			n := Missing
			if rapid.IntRange(0, 3).Draw(t, "known") > 0 {
				n = known.Draw(t, "requests")
			}
			of.Seconds = append(of.Seconds, n)
		}
		of.Seconds = append(of.Seconds, known.Draw(t, "last"))
		if rapid.Bool().Draw(t, "with replicas") {
			for _, n := range of.Seconds {
				ready := Missing
				if n >= 0 { // a line has to tell of them
					ready = float32(rapid.IntRange(-1, 2000).Draw(t, "replicas"))
				}
				of.Ready = append(of.Ready, ready)
			}
			of.Ready[len(of.Ready)-1] = 3
		}
		var text strings.Builder
		if err := of.Write(&text); err != nil {
			t.Fatal(err)
		}
		got, err := Read(strings.NewReader(text.String()))
		if err != nil || !got.Start.Equal(of.Start) || !slices.Equal(got.Seconds, of.Seconds) || !slices.Equal(got.Ready, of.Ready) {
			t.Fatalf("read %v, %v, wrote %v", got, err, of)
		}
	})
}

// Stretches are all that is known, in order, cut at gaps of a minute.
func TestStretches(t *testing.T) {
	gap := func(n int) string { return strings.Repeat("-", n) }
	for text, want := range map[string]string{
		"123":                                "[123]",
		"12" + gap(59) + "3":                 "[123]",
		"12" + gap(60) + "3":                 "[12 3]",
		gap(70) + "1" + gap(100):             "[1]",
		"1" + gap(61) + "-2" + gap(61) + "3": "[1 2 3]",
	} {
		var of Trace
		for _, c := range text {
			n := Missing
			if c != '-' {
				n = float32(c - '0')
			}
			of.Seconds = append(of.Seconds, n)
		}
		var got []string
		for s := range of.Stretches() {
			part := ""
			for _, n := range s {
				part += fmt.Sprint(n)
			}
			got = append(got, part)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	of := Trace{Seconds: []float32{1, 2, Missing, Missing}}
	if of.Known() != 2 || of.MissingShare() != .5 || of.Requests() != 3 {
		t.Errorf("%d known, %g missing, %g requests", of.Known(), of.MissingShare(), of.Requests())
	}
}

func TestBetween(t *testing.T) {
	of := Trace{Start: time.Unix(100, 0), Seconds: []float32{0, 1, 2, 3, 4}, Ready: []float32{5, 6, 7, 8, 9}}
	at := func(s float64) time.Time { return time.Unix(0, int64(s*1e9)) }
	for _, c := range []struct {
		from, to    float64
		start, want int64
		seconds     int
	}{
		{101, 103, 101, 1, 2}, {100.5, 102.5, 101, 1, 2}, {0, 1e6, 100, 0, 5}, {104.5, 200, 105, 0, 0}, {103, 101, 103, 0, 0}, {0, 50, 100, 0, 0},
	} {
		got := of.Between(at(c.from), at(c.to))
		if got.Start.Unix() != c.start || len(got.Seconds) != c.seconds || len(got.Ready) != c.seconds ||
			c.seconds > 0 && (got.Seconds[0] != float32(c.want) || got.Ready[0] != float32(c.want+5)) || !got.End().Equal(got.Start.Add(time.Duration(c.seconds)*time.Second)) {
			t.Errorf("from %g to %g: %+v", c.from, c.to, got)
		}
	}
}

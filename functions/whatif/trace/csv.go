package trace

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mostBytes bounds a file: a week of lines of an ordinary length.
const mostBytes = 64 << 20

// header may be the first line.
const header = "time"

// Read reads lines `time,requests` or `time,requests,replicas`: how many requests came in the
// second that begins at a time, in RFC 3339 or in seconds since whenever, and how many replicas
// were ready in it. They are in order, each second once; what is left out isn't known. An error
// names the line and the remedy.
func Read(text io.Reader) (Trace, error) {
	limited := &io.LimitedReader{R: text, N: mostBytes + 1}
	lines := csv.NewReader(limited)
	lines.FieldsPerRecord, lines.ReuseRecord, lines.TrimLeadingSpace, lines.Comment = -1, true, true, '#'
	var t Trace
	var first int64
	for {
		fields, err := lines.Read()
		if limited.N <= 0 {
			return Trace{}, fmt.Errorf("the recording has more than %d MB: give a shorter one", mostBytes>>20)
		}
		if errors.Is(err, io.EOF) {
			return t, t.Check()
		}
		if err != nil {
			return Trace{}, fmt.Errorf("reading the recording: %w: write lines `time,requests`, or `time,requests,replicas`", err)
		}
		line, _ := lines.FieldPos(0)
		if len(t.Seconds) == 0 && strings.EqualFold(strings.TrimSpace(fields[0]), header) {
			continue
		}
		at, n, ready, err := readLine(fields)
		if err != nil {
			return Trace{}, fmt.Errorf("line %d: %w", line, err)
		}
		if len(t.Seconds) == 0 {
			first, t.Start = at, time.Unix(at, 0).UTC()
		}
		switch next := first + int64(len(t.Seconds)); {
		case at == next-1 && at >= first && len(t.Seconds) > 0:
			return Trace{}, fmt.Errorf("line %d: %s is there twice: write each second once, with all of its requests", line, strings.TrimSpace(fields[0]))
		case at < next:
			return Trace{}, fmt.Errorf("line %d: %s is before the line above it: sort the lines by time", line, strings.TrimSpace(fields[0]))
		case at-first >= int64(Longest.Seconds()):
			return Trace{}, fmt.Errorf("line %d: %s is more than 7 days after the first line: give a shorter recording", line, strings.TrimSpace(fields[0]))
		default:
			for ; next < at; next++ {
				t.add(Missing, Missing)
			}
			t.add(n, ready)
		}
	}
}

// add is what was recorded of one more second.
func (t *Trace) add(requests, ready float32) {
	if t.Ready == nil && ready >= 0 {
		t.Ready = slices.Repeat([]float32{Missing}, len(t.Seconds))
	}
	if t.Seconds = append(t.Seconds, requests); t.Ready != nil {
		t.Ready = append(t.Ready, ready)
	}
}

func readLine(fields []string) (at int64, requests, ready float32, err error) {
	if len(fields) != 2 && len(fields) != 3 {
		return 0, 0, 0, fmt.Errorf("it has %d fields: write `time,requests`, or `time,requests,replicas`", len(fields))
	}
	when, many := strings.TrimSpace(fields[0]), strings.TrimSpace(fields[1])
	if at, err = readTime(when); err != nil {
		return 0, 0, 0, err
	}
	n, err := strconv.ParseFloat(many, 64)
	switch {
	case err != nil || math.IsNaN(n):
		return 0, 0, 0, fmt.Errorf("requests are %q: write a number, or leave out a line of which it isn't known", many)
	case n < 0:
		return 0, 0, 0, fmt.Errorf("requests are %s: write 0 or more, or leave out a line of which it isn't known", many)
	case n > MostRequests:
		return 0, 0, 0, fmt.Errorf("requests are %s: at most %.0f came in a second; are they a sum?", many, MostRequests)
	}
	if ready, err = readReady(fields[2:]); err != nil {
		return 0, 0, 0, err
	}
	return at, float32(n), ready, nil
}

// readReady reads the field that tells of replicas, if there is one.
func readReady(fields []string) (float32, error) {
	if len(fields) == 0 || strings.TrimSpace(fields[0]) == "" {
		return Missing, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(fields[0]), 10, 31)
	if err != nil || n > MostReady {
		return 0, fmt.Errorf("replicas are %q: write a whole number from 0 to %d, or nothing where it isn't known", fields[0], MostReady)
	}
	return float32(n), nil
}

// readTime reads the second that a time is the beginning of.
func readTime(text string) (int64, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		if t.Nanosecond() != 0 {
			return 0, fmt.Errorf("time %s isn't a full second: add up what came in each", text)
		}
		return t.Unix(), nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(seconds):
		return 0, fmt.Errorf("time is %q: write RFC 3339, as 2026-01-31T15:04:05Z, or seconds", text)
	case seconds != math.Trunc(seconds):
		return 0, fmt.Errorf("time %s isn't a full second: add up what came in each", text)
	case seconds < 0 || seconds > 1e10:
		return 0, fmt.Errorf("time is %s: write seconds from 0 to 10000000000; are they milliseconds?", text)
	}
	return int64(seconds), nil
}

// Write writes what Read reads: the seconds whose requests are known.
func (t Trace) Write(to io.Writer) error {
	out := bufio.NewWriter(to)
	columns := "time,requests\n"
	if t.Ready != nil {
		columns = "time,requests,replicas\n"
	}
	_, _ = out.WriteString(columns) // Flush tells
	var line []byte
	for i, n := range t.Seconds {
		if n < 0 {
			continue
		}
		line = t.Start.Add(time.Duration(i)*time.Second).UTC().AppendFormat(line[:0], time.RFC3339)
		line = strconv.AppendFloat(append(line, ','), float64(n), 'f', -1, 32)
		if t.Ready != nil {
			if line = append(line, ','); t.Ready[i] >= 0 {
				line = strconv.AppendFloat(line, float64(t.Ready[i]), 'f', -1, 32)
			}
		}
		_, _ = out.Write(append(line, '\n'))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the recording: %w", err)
	}
	return nil
}

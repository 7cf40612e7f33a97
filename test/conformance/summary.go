package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is what `go test -json` says (see go doc test2json).
type event struct {
	Action  string
	Test    string
	Elapsed float64
	Output  string
}

// summary is what became of the tests of the suite, the parts of a test included.
type summary struct {
	passed int
	// skipped and failed tests, with what they said.
	skipped, failed map[string]string
	// running is what has begun and not ended, said what tests have said so far.
	running map[string]bool
	said    map[string]string
	// broken is true if the suite as a whole failed, as when it can't be built.
	broken bool
}

// read follows a run to its end, and shows each test of the suite as it ends and
// whatever isn't a test's.
func read(events io.Reader, out io.Writer) (*summary, error) {
	s := &summary{
		skipped: map[string]string{}, failed: map[string]string{},
		running: map[string]bool{}, said: map[string]string{},
	}
	decoder := json.NewDecoder(events)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what go test says: %w", err)
		}
		s.take(e, out)
	}
}

func (s *summary) take(e event, out io.Writer) {
	_, name, isPart := strings.Cut(e.Test, "/")
	if !isPart {
		// The suite as a whole, or the build: its parts say the rest.
		s.broken = s.broken || e.Action == "fail"
		if e.Test == "" && strings.HasSuffix(e.Action, "output") {
			fmt.Fprint(out, e.Output)
		}
		return
	}
	switch e.Action {
	case "run":
		s.running[name] = true
	case "output":
		s.said[name] += e.Output
		return
	case "pass":
		s.passed++
	case "skip":
		s.skipped[name] = s.words(name)
	case "fail":
		s.failed[name] = s.words(name)
	default:
		return // paused, resumed
	}
	if e.Action != "run" {
		delete(s.running, name)
		fmt.Fprintf(out, "%-4s %s (%.1f s)\n", e.Action, name, e.Elapsed)
	}
}

// words are what a test said, without the framework's own lines; what it said many
// times, as probers do, is counted.
func (s *summary) words(name string) string {
	times := map[string]int{}
	var lines []string
	for line := range strings.Lines(s.said[name]) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if times[line]++; times[line] == 1 {
			lines = append(lines, line)
		}
	}
	for i, line := range lines {
		if n := times[line]; n > 1 {
			lines[i] = fmt.Sprintf("%s (%d times)", line, n)
		}
	}
	return strings.Join(lines, "\n")
}

// lines tell what failed and what was skipped, with the reasons, and at last how
// many did what. What never ended failed.
func (s *summary) lines() []string {
	for name := range s.running {
		s.failed[name] = "did not end\n" + s.words(name)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.failed)) {
		out = append(out, "", "FAILED "+name, s.failed[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.skipped)) {
		out = append(out, "SKIPPED "+name+": "+s.skipped[name])
	}
	return append(out, fmt.Sprintf("%d passed, %d failed, %d skipped", s.passed, len(s.failed), len(s.skipped)))
}

func (s *summary) verdict() error {
	switch {
	case len(s.failed) > 0:
		return fmt.Errorf("%d tests failed", len(s.failed))
	case s.broken:
		return errors.New("the suite failed")
	case s.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}
